"""How far two sets of labels of the same images agree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask
from scipy.optimize import linear_sum_assignment

from xpm_stream.evaluation.truth import xyxy_to_xywh

Box = Sequence[float]  # x0, y0, x1, y1
WordBox = tuple[str, Box]


def label_agreement(
    first: Sequence[Iterable[WordBox]], second: Sequence[Iterable[WordBox]], *, iou_threshold: float = 0.5
) -> float | None:
    """Return the share of labels on which both agree: same image, same word, boxes that overlap enough (F1, 0..1).

    Boxes of one word in one image are paired so that most of them agree. None where neither has a label.

    Raises:
        ValueError: the two are not of the same number of images.
    """
    matched = total = 0
    for ours, theirs in zip(first, second, strict=True):
        mine, other = _by_word(ours), _by_word(theirs)
        total += sum(map(len, mine.values())) + sum(map(len, other.values()))
        matched += sum(_pairs(mine[word], other[word], iou_threshold=iou_threshold) for word in mine.keys() & other)
    return 2 * matched / total if total else None


def _by_word(labels: Iterable[WordBox]) -> dict[str, list[Box]]:
    boxes = defaultdict(list)
    for word, box in labels:
        boxes[word].append(box)
    return boxes


def _pairs(first: Sequence[Box], second: Sequence[Box], *, iou_threshold: float) -> int:
    overlaps: npt.NDArray[np.float64] = np.asarray(
        coco_mask.iou(xyxy_to_xywh(second), xyxy_to_xywh(first), [0] * len(first))
    )
    close = overlaps >= iou_threshold
    rows, columns = linear_sum_assignment(close, maximize=True)
    return int(close[rows, columns].sum())
