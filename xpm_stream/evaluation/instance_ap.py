"""Average precision of boxes and masks, by pycocotools' own COCOeval, in the constrained and generalized settings.

METHODS 1.5. *Constrained*: only one split's classes, only the images that contain them, and detections made with only
those words in the softmax. *Generalized*: all classes together, reported for base, target and all.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from xpm_stream.errors import DataError
from xpm_stream.evaluation.detector import DetectionResult
from xpm_stream.evaluation.truth import GroundTruth, xyxy_to_xywh
from xpm_stream.masks import segmentation_to_rle

Setting = Literal["constrained", "generalized"]
Split = Literal["base", "target", "all"]
Kind = Literal["box", "mask"]
_IOU_TYPES: Final[dict[Kind, str]] = {"box": "bbox", "mask": "segm"}
_WHOLE_AREA: Final = [0, 1e5**2]  # COCOeval's own range "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class AveragePrecision:
    """AP of one kind, 0..1; None where no class has a ground-truth instance."""

    ap50: float | None  # at IoU 0.5
    ap: float | None  # mean over IoU 0.50:0.05:0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Box and mask AP of one class, or the mean over the classes of a split that have ground truth."""

    box: AveragePrecision
    mask: AveragePrecision
    num_instances: int  # ground truth, crowds left out


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceScores:
    """One evaluation: some classes, the images that contain them, one set of detections."""

    setting: Setting
    by_split: Mapping[Split, Scores]
    by_class: Mapping[str, Scores]
    num_images: int


def score_instances(
    results: Sequence[DetectionResult],
    *,
    truth: GroundTruth,
    setting: Setting,
    splits: Mapping[Split, Sequence[str]],
    max_detections: int = 100,
) -> InstanceScores:
    """Judge detections against ground truth: all classes of all `splits` together, a mean for each split.

    For the constrained setting pass one split, and detections made with its words alone; for the generalized pass
    `{"base": ..., "target": ..., "all": ...}`. Only images that contain one of the classes count. Each of them needs
    a result (an empty one where nothing was found); results of other images are left out.

    Raises:
        DataError: an image has no result or two, a detection names a class outside the splits, or no image contains
            any of the classes.
    """
    classes = truth.known_classes(name for names in splits.values() for name in names)
    image_ids = truth.images_with(classes)
    if not image_ids:
        raise DataError(f"{truth.source}: no image contains any of the {setting} classes; check the split's names")
    chosen = _results_by_image(results, image_ids=image_ids, classes=classes)
    ground, detections = _coco_ground(truth, image_ids, classes), _coco_detections(truth, chosen)
    precisions = {
        kind: _precision(ground, detections, iou_type=iou_type, max_detections=max_detections)
        for kind, iou_type in _IOU_TYPES.items()
    }
    column = {name: index for index, name in enumerate(sorted(classes, key=truth.category_ids.__getitem__))}
    counts = dict.fromkeys(classes, 0) | truth.count_instances()

    def score(names: Sequence[str]) -> Scores:
        columns = [column[name] for name in truth.known_classes(names)]
        return Scores(
            box=_mean(precisions["box"], columns),
            mask=_mean(precisions["mask"], columns),
            num_instances=sum(counts[name] for name in truth.known_classes(names)),
        )

    return InstanceScores(
        setting=setting,
        by_split={split: score(names) for split, names in splits.items()},
        by_class={name: score([name]) for name in classes},
        num_images=len(image_ids),
    )


def _results_by_image(
    results: Sequence[DetectionResult], *, image_ids: Sequence[int], classes: Sequence[str]
) -> list[DetectionResult]:
    by_image = {result.image_id: result for result in results}
    if len(by_image) != len(results):
        raise DataError("an image has two results; pass one for each image")
    missing = [image_id for image_id in image_ids if image_id not in by_image]
    if missing:
        raise DataError(
            f"{len(missing)} images have no result (first: {missing[0]}); "
            "an image without detections needs an empty one"
        )
    chosen = [by_image[image_id] for image_id in image_ids]
    foreign = {name for result in chosen for name in result.class_names} - set(classes)
    if foreign:
        raise DataError(
            f"detections name classes that are not evaluated here: {', '.join(sorted(foreign)[:5])}; "
            "restrict the vocabulary before the softmax, not after"
        )
    return chosen


def _coco_ground(truth: GroundTruth, image_ids: Sequence[int], classes: Sequence[str]) -> COCO:
    annotations: list[dict[str, Any]] = []
    for image_id in image_ids:
        image = truth.images[image_id]
        for annotation in truth.of_classes(image_id, classes):
            rle = segmentation_to_rle(annotation["segmentation"], height=image["height"], width=image["width"])
            annotations.append(
                {
                    # COCOeval takes a match with annotation 0 for no match, so ids are counted anew from 1.
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": annotation["category_id"],
                    "bbox": annotation["bbox"],
                    "area": annotation["area"],
                    "iscrowd": annotation.get("iscrowd", 0),
                    "segmentation": rle,
                }
            )
    categories = [{"id": truth.category_ids[name], "name": name} for name in classes]
    return _coco([{"id": image_id, **_size(truth, image_id)} for image_id in image_ids], annotations, categories)


def _coco_detections(truth: GroundTruth, results: Sequence[DetectionResult]) -> COCO:
    annotations: list[dict[str, Any]] = []
    for result in results:
        boxes = xyxy_to_xywh(result.boxes_xyxy)
        for box, score, name, mask in zip(boxes, result.scores, result.class_names, result.masks, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": result.image_id,
                    "category_id": truth.category_ids[name],
                    "bbox": box.tolist(),
                    "area": float(box[2] * box[3]),
                    "iscrowd": 0,
                    "score": float(score),
                    "segmentation": dict(mask),
                }
            )
    images = [{"id": result.image_id, **_size(truth, result.image_id)} for result in results]
    return _coco(images, annotations, [{"id": number, "name": name} for name, number in truth.category_ids.items()])


def _size(truth: GroundTruth, image_id: int) -> dict[str, int]:
    return {side: truth.images[image_id][side] for side in ("height", "width")}


def _coco(images: list[dict[str, Any]], annotations: list[dict[str, Any]], categories: list[dict[str, Any]]) -> COCO:
    coco = COCO()
    coco.dataset = {"images": images, "annotations": annotations, "categories": categories}
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports progress with print
        coco.createIndex()
    return coco


def _precision(ground: COCO, detections: COCO, *, iou_type: str, max_detections: int) -> npt.NDArray[np.float64]:
    """Return COCOeval's precision [IoU thresholds, recall points, classes] over all areas."""
    evaluator = COCOeval(ground, detections, iouType=iou_type)
    evaluator.params.maxDets = [max_detections]
    evaluator.params.areaRng, evaluator.params.areaRngLbl = [_WHOLE_AREA], ["all"]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator.evaluate()
        evaluator.accumulate()
    precision: npt.NDArray[np.float64] = evaluator.eval["precision"][:, :, :, 0, 0]
    return precision


def _mean(precision: npt.NDArray[np.float64], columns: Sequence[int]) -> AveragePrecision:
    # As COCOeval.summarize: -1 marks a class without ground truth, which the mean leaves out.
    chosen = precision[:, :, columns]
    strict, all_thresholds = chosen[:1][chosen[:1] > -1], chosen[chosen > -1]
    return AveragePrecision(
        ap50=float(np.mean(strict)) if strict.size else None,
        ap=float(np.mean(all_thresholds)) if all_thresholds.size else None,
    )
