"""Average precision of boxes and masks, by pycocotools' own COCOeval, in the constrained and generalized settings.

*Constrained*: only one split's classes, only the images that contain them, and detections made with only those words in
the softmax. *Generalized*: all classes together, reported for base, target and all. What counts in an image, and how
precision becomes AP, is the ground truth's protocol (docs/evaluation.md).
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pycocotools.cocoeval import COCOeval

from xpm_stream.errors import DataError
from xpm_stream.evaluation.coco_inputs import IOU_TYPES, WHOLE_AREA, ClassInputs, Kind, class_inputs
from xpm_stream.evaluation.detector import DetectionResult
from xpm_stream.evaluation.open_images_eval import open_images_ap
from xpm_stream.evaluation.truth import GroundTruth

Setting = Literal["constrained", "generalized"]
Split = Literal["base", "target", "all"]


_MeanOver = Callable[[Sequence[str]], "AveragePrecision"]  # of the classes that have ground truth


@dataclass(frozen=True, slots=True, kw_only=True)
class AveragePrecision:
    """AP of one kind, 0..1; None where no class has a ground-truth instance."""

    ap50: float | None  # at IoU 0.5
    ap: float | None  # mean over IoU 0.50:0.05:0.95; None too where the protocol has no such figure (open_images)


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
    `{"base": ..., "target": ..., "all": ...}`. Only the images of `truth.images_to_judge` count. Each of them needs
    a result (an empty one where nothing was found); results of other images are left out. `max_detections` is of each
    class in an image under `coco`, as in COCOeval, and of an image under federated protocols.

    Raises:
        DataError: an image has no result or two, a detection names a class outside the splits, or no image counts for
            any of the classes.
    """
    classes = truth.known_classes(name for names in splits.values() for name in names)
    image_ids = truth.images_to_judge(classes)
    if not image_ids:
        raise DataError(f"{truth.source}: no image contains any of the {setting} classes; check the split's names")
    chosen = _results_by_image(results, image_ids=image_ids, classes=classes)
    judge = _judge_open_images if truth.protocol == "open_images" else _judge_coco
    means = {
        kind: judge(truth, chosen, classes=classes, kind=kind, max_detections=max_detections) for kind in IOU_TYPES
    }
    counts = dict.fromkeys(classes, 0) | truth.count_instances()

    def score(names: Sequence[str]) -> Scores:
        known = truth.known_classes(names)
        return Scores(
            box=means["box"](known), mask=means["mask"](known), num_instances=sum(counts[name] for name in known)
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


def _judge_coco(
    truth: GroundTruth, results: Sequence[DetectionResult], *, classes: Sequence[str], kind: Kind, max_detections: int
) -> _MeanOver:
    inputs = class_inputs(truth, results, classes, kind=kind, max_detections=max_detections)
    of_class = {
        name: _precision(one, kind=kind, max_detections=max_detections)
        for name, one in zip(classes, inputs, strict=True)
    }

    def mean(names: Sequence[str]) -> AveragePrecision:
        if not names:
            return AveragePrecision(ap50=None, ap=None)
        # As COCOeval.summarize, in its order of classes too (a mean's last digit is its order of summing); -1 marks a
        # class without ground truth, which the mean leaves out.
        chosen = np.stack([of_class[name] for name in sorted(names, key=truth.category_ids.__getitem__)], axis=2)
        strict, all_thresholds = chosen[:1][chosen[:1] > -1], chosen[chosen > -1]
        return AveragePrecision(
            ap50=float(np.mean(strict)) if strict.size else None,
            ap=float(np.mean(all_thresholds)) if all_thresholds.size else None,
        )

    return mean


def _precision(inputs: ClassInputs, *, kind: Kind, max_detections: int) -> npt.NDArray[np.float64]:
    """Return COCOeval's precision [IoU thresholds, recall points] of one class over all areas."""
    evaluator = COCOeval(inputs.ground, inputs.detections, iouType=IOU_TYPES[kind])
    evaluator.params.maxDets = [max_detections]
    evaluator.params.areaRng, evaluator.params.areaRngLbl = [WHOLE_AREA], ["all"]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports progress with print
        evaluator.evaluate()
        evaluator.accumulate()
    precision: npt.NDArray[np.float64] = evaluator.eval["precision"][:, :, 0, 0, 0]
    return precision


def _judge_open_images(
    truth: GroundTruth, results: Sequence[DetectionResult], *, classes: Sequence[str], kind: Kind, max_detections: int
) -> _MeanOver:
    inputs = class_inputs(truth, results, classes, kind=kind, max_detections=max_detections)
    of_class = {name: open_images_ap(one, kind=kind) for name, one in zip(classes, inputs, strict=True)}

    def mean(names: Sequence[str]) -> AveragePrecision:
        known = [value for name in names if (value := of_class[name]) is not None]
        return AveragePrecision(ap50=float(np.mean(known)) if known else None, ap=None)

    return mean
