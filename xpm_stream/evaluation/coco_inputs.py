"""Ground truth and detections as pycocotools' COCOeval takes them, class by class, the protocol's rules applied.

Class by class and only with the images that have an object or a detection of it: the figures are the same, and
COCOeval, which keeps something for every pair of image and class, gets through LVIS's 1,203 classes.

COCOeval ignores an unmatched detection, and a ground truth, whose area is outside the range asked for. That is how
federated rules are told to it: UNJUDGED as the area says "right if it matches, and else nothing".
"""

from __future__ import annotations

import contextlib
import io
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class ClassInputs:
    """What COCOeval needs to know of one class."""

    category_id: int
    ground: COCO
    detections: COCO


def class_inputs(
    truth: GroundTruth, results: Sequence[DetectionResult], classes: Sequence[str], *, kind: Kind, max_detections: int
) -> Iterator[ClassInputs]:
    """Yield each class's ground truth and the detections that count, in the order of `classes`."""
    ground, found = _ground(truth, results, classes, kind=kind), _detections(truth, results, kind, max_detections)
    for name in classes:
        category = truth.category_ids[name]
        objects, detections = ground.pop(category, []), found.pop(category, [])
        image_ids = sorted({item["image_id"] for item in (*objects, *detections)})
        images = [
            {"id": image_id, "height": truth.images[image_id]["height"], "width": truth.images[image_id]["width"]}
            for image_id in image_ids
        ]
        categories = [{"id": category, "name": name}]
        yield ClassInputs(category, _coco(images, objects, categories), _coco(images, detections, categories))


def _ground(
    truth: GroundTruth, results: Sequence[DetectionResult], classes: Sequence[str], *, kind: Kind
) -> dict[int, list[dict[str, Any]]]:
    """Annotations by category id.

    `open_images`: a box that nobody drew a mask for is an object where boxes are judged, and ignored where masks are.
    """
    by_category: dict[int, list[dict[str, Any]]] = defaultdict(list)
    count = 0
    for result in results:
        image = truth.images[result.image_id]
        for annotation in truth.of_classes(result.image_id, classes):
            count += 1
            box_only = bool(annotation.get("is_box_only", 0))
            by_category[annotation["category_id"]].append(
                {
                    # COCOeval takes a match with annotation 0 for no match, so ids are counted anew from 1.
                    "id": count,
                    "image_id": result.image_id,
                    "category_id": annotation["category_id"],
                    "bbox": annotation["bbox"],
                    "area": UNJUDGED if box_only and kind == "mask" else annotation["area"],
                    "iscrowd": 0 if box_only else annotation.get("iscrowd", 0),
                    "segmentation": segmentation_to_rle(
                        annotation["segmentation"], height=image["height"], width=image["width"]
                    ),
                    "is_box_only": box_only,
                }
            )
    return by_category


def _detections(
    truth: GroundTruth, results: Sequence[DetectionResult], kind: Kind, max_detections: int
) -> dict[int, list[dict[str, Any]]]:
    """Detections that count, by category id.

    Federated protocols: the best `max_detections` of an image, and of those only the ones of a class that is known to
    be in the image, or known not to be. Boxes and areas are those of the masks where masks are judged.
    """
    by_category: dict[int, list[dict[str, Any]]] = defaultdict(list)
    count = 0
    for result in results:
        boxes = xyxy_to_xywh(result.boxes_xyxy)
        open_ended, verified = truth.not_exhaustive(result.image_id), truth.verified(result.image_id)
        for place in _counted(truth, result, max_detections):
            category = truth.category_ids[result.class_names[place]]
            if category not in verified:
                continue
            count += 1
            box = np.asarray(coco_mask.toBbox(result.masks[place])) if kind == "mask" else boxes[place]
            by_category[category].append(
                {
                    "id": count,
                    "image_id": result.image_id,
                    "category_id": category,
                    "bbox": box.tolist(),
                    "area": UNJUDGED if category in open_ended else float(box[2] * box[3]),
                    "iscrowd": 0,
                    "score": float(result.scores[place]),
                    "segmentation": dict(result.masks[place]),
                }
            )
    return by_category


def _counted(truth: GroundTruth, result: DetectionResult, max_detections: int) -> npt.NDArray[np.intp]:
    if truth.protocol == "coco":  # COCOeval has its own limit, of each class in an image
        return np.arange(len(result.scores))
    return np.argsort(-np.asarray(result.scores, dtype=np.float64), kind="stable")[:max_detections]


def _coco(images: list[dict[str, Any]], annotations: list[dict[str, Any]], categories: list[dict[str, Any]]) -> COCO:
    coco = COCO()
    coco.dataset = {"images": images, "annotations": annotations, "categories": categories}
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports progress with print
        coco.createIndex()
    return coco
