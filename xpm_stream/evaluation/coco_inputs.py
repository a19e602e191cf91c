"""Ground truth and detections as pycocotools' COCOeval takes them, each protocol's rules already applied.

COCOeval ignores an unmatched detection, and a ground truth, whose area is outside the range asked for. That is how
federated rules are told to it: UNJUDGED as the area says "right if it matches, and else nothing".
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from xpm_stream.evaluation.detector import DetectionResult
from xpm_stream.evaluation.truth import GroundTruth, xyxy_to_xywh
from xpm_stream.masks import segmentation_to_rle

Kind = Literal["box", "mask"]
IOU_TYPES: Final[dict[Kind, str]] = {"box": "bbox", "mask": "segm"}
WHOLE_AREA: Final = [0, 1e5**2]  # COCOeval's own range "all"
UNJUDGED: Final = float("inf")


def coco_ground(truth: GroundTruth, image_ids: Sequence[int], classes: Sequence[str], *, kind: Kind) -> COCO:
    """Return the ground truth of the classes in the images.

    `open_images`: a box that nobody drew a mask for is an object where boxes are judged, and ignored where masks are.
    """
    annotations: list[dict[str, Any]] = []
    for image_id in image_ids:
        image = truth.images[image_id]
        for annotation in truth.of_classes(image_id, classes):
            rle = segmentation_to_rle(annotation["segmentation"], height=image["height"], width=image["width"])
            box_only = bool(annotation.get("is_box_only", 0))
            annotations.append(
                {
                    # COCOeval takes a match with annotation 0 for no match, so ids are counted anew from 1.
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": annotation["category_id"],
                    "bbox": annotation["bbox"],
                    "area": UNJUDGED if box_only and kind == "mask" else annotation["area"],
                    "iscrowd": 0 if box_only else annotation.get("iscrowd", 0),
                    "segmentation": rle,
                    "is_box_only": box_only,
                }
            )
    categories = [{"id": truth.category_ids[name], "name": name} for name in classes]
    return _coco([{"id": image_id, **_size(truth, image_id)} for image_id in image_ids], annotations, categories)


def coco_detections(truth: GroundTruth, results: Sequence[DetectionResult], *, kind: Kind, max_detections: int) -> COCO:
    """Return the detections that count.

    Federated protocols: the best `max_detections` of an image, and of those only the ones of a class that is known to
    be in the image, or known not to be. Boxes and areas are those of the masks where masks are judged.
    """
    annotations: list[dict[str, Any]] = []
    for result in results:
        boxes = xyxy_to_xywh(result.boxes_xyxy)
        open_ended, verified = truth.not_exhaustive(result.image_id), truth.verified(result.image_id)
        for place in _counted(truth, result, max_detections):
            category = truth.category_ids[result.class_names[place]]
            if category not in verified:
                continue
            box = np.asarray(coco_mask.toBbox(result.masks[place])) if kind == "mask" else boxes[place]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": result.image_id,
                    "category_id": category,
                    "bbox": box.tolist(),
                    "area": UNJUDGED if category in open_ended else float(box[2] * box[3]),
                    "iscrowd": 0,
                    "score": float(result.scores[place]),
                    "segmentation": dict(result.masks[place]),
                }
            )
    images = [{"id": result.image_id, **_size(truth, result.image_id)} for result in results]
    return _coco(images, annotations, [{"id": number, "name": name} for name, number in truth.category_ids.items()])


def _counted(truth: GroundTruth, result: DetectionResult, max_detections: int) -> npt.NDArray[np.intp]:
    if truth.protocol == "coco":  # COCOeval has its own limit, of each class in an image
        return np.arange(len(result.scores))
    return np.argsort(-np.asarray(result.scores, dtype=np.float64), kind="stable")[:max_detections]


def _size(truth: GroundTruth, image_id: int) -> dict[str, int]:
    return {side: truth.images[image_id][side] for side in ("height", "width")}


def _coco(images: list[dict[str, Any]], annotations: list[dict[str, Any]], categories: list[dict[str, Any]]) -> COCO:
    coco = COCO()
    coco.dataset = {"images": images, "annotations": annotations, "categories": categories}
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports progress with print
        coco.createIndex()
    return coco
