"""The Open Images challenge's average precision, on COCOeval's matching and accumulation.

The challenge differs from COCO in four points, each a change of what COCOeval is given:

- A detection may match only the object it overlaps most. COCOeval takes the next best where that one is taken, so of
  each detection's overlaps all but the largest are set to zero.
- A detection inside a GroupOf box (intersection over the detection's area of at least 0.5) is ignored. GroupOf boxes
  have no masks: the box of the detected mask is compared.
- A box without a mask (neither GroupOf) takes one detection out of the account of masks, by the boxes' overlap.
- AP is the area under the whole precision-recall curve: recall is asked at k / N for each of the N objects, where COCO
  asks at 101 fixed points.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask
from pycocotools.cocoeval import COCOeval

from xpm_stream.evaluation.coco_inputs import IOU_TYPES, WHOLE_AREA, ClassInputs, Kind

_MATCHING_IOU: Final = 0.5
_FIRST: Final = 2.0  # added to overlaps that come before any GroupOf box


def open_images_ap(inputs: ClassInputs, *, kind: Kind) -> float | None:
    """Return the AP of one class at IoU 0.5, 0..1; None where it has no object to find."""
    objects = inputs.ground.dataset["annotations"]
    count = sum(1 for item in objects if not item["iscrowd"] and item["area"] <= WHOLE_AREA[1])
    if not count:
        return None
    evaluator = _ChallengeEval(inputs.ground, inputs.detections, iouType=IOU_TYPES[kind])
    parameters = evaluator.params
    # The limit of an image is applied to all its classes together, before.
    parameters.maxDets = [max(len(inputs.detections.dataset["annotations"]), 1)]
    parameters.areaRng, parameters.areaRngLbl = [WHOLE_AREA], ["all"]
    parameters.iouThrs = np.array([_MATCHING_IOU])
    parameters.recThrs = np.arange(1, count + 1) / count
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator.evaluate()
        evaluator.accumulate()
    return float(np.mean(evaluator.eval["precision"]))


class _ChallengeEval(COCOeval):  # type: ignore[misc]  # pycocotools is untyped
    """COCOeval with the challenge's overlaps."""

    # The name is COCOeval's.
    def computeIoU(self, imgId: int, catId: int) -> npt.NDArray[np.float64] | list[Any]:  # noqa: N802, N803
        """Return what each detection (best score first) may match: [detections, objects]."""
        objects, found = self._gts[imgId, catId], self._dts[imgId, catId]
        overlaps = np.asarray(super().computeIoU(imgId, catId), dtype=np.float64)
        if not objects or not found:
            return overlaps if overlaps.size else []
        groups = np.array([bool(item["iscrowd"]) for item in objects])
        boxes = np.array([item["is_box_only"] for item in objects]) & (self.params.iouType == "segm")
        order = np.argsort([-item["score"] for item in found], kind="mergesort")
        by_box = np.asarray(
            coco_mask.iou(
                [found[place]["bbox"] for place in order], [item["bbox"] for item in objects], groups.tolist()
            )
        )
        overlaps[:, groups | boxes] = by_box[:, groups | boxes]
        for one_kind in (~groups & ~boxes, boxes):
            overlaps[:, one_kind] = _only_largest(overlaps[:, one_kind])
        overlaps[:, boxes] += _FIRST * (overlaps[:, boxes] >= _MATCHING_IOU)
        return overlaps


def _only_largest(overlaps: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Set all but each row's first largest overlap to zero: [detections, objects]."""
    if not overlaps.shape[1]:
        return overlaps
    kept = np.zeros_like(overlaps)
    rows, largest = np.arange(len(overlaps)), overlaps.argmax(axis=1)
    kept[rows, largest] = overlaps[rows, largest]
    return kept
