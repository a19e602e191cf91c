"""How many objects the class-agnostic proposals find, whatever they are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from xpm_stream.errors import DataError
from xpm_stream.evaluation.detector import ProposalResult
from xpm_stream.evaluation.instance_ap import Split
from xpm_stream.evaluation.truth import GroundTruth, boxes_xywh, xyxy_to_xywh

DEFAULT_BUDGETS: Final = (10, 100, 300)
_NEVER: Final = np.iinfo(np.int64).max  # rank of an object that no proposal finds


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalRecall:
    """Share of a split's objects found within the first k proposals of their image."""

    at: Mapping[int, float | None]  # k -> recall 0..1; None without objects
    num_instances: int  # crowds left out


def proposal_recall(
    proposals: Sequence[ProposalResult],
    *,
    truth: GroundTruth,
    splits: Mapping[Split, Sequence[str]],
    budgets: Sequence[int] = DEFAULT_BUDGETS,
    iou_threshold: float = 0.5,
) -> dict[Split, ProposalRecall]:
    """Return for each split the recall at each budget, as COCOeval's recall with `useCats = 0` and that `maxDets`.

    In order of rank each proposal takes the object it overlaps best among those not yet taken; crowds are no objects.
    Objects of images without a ProposalResult are not counted.

    Raises:
        DataError: an image has two results.
    """
    if len({result.image_id for result in proposals}) != len(proposals):
        raise DataError("an image has two proposal results; pass one for each image")
    ranks: dict[Split, list[npt.NDArray[np.int64]]] = {split: [] for split in splits}
    for result in proposals:
        boxes = xyxy_to_xywh(result.boxes_xyxy[: max(budgets)])
        for split, names in splits.items():
            objects = [item for item in truth.of_classes(result.image_id, names) if not item.get("iscrowd", 0)]
            objects.sort(key=lambda item: int(item["category_id"]))  # COCOeval's order, which decides equal overlaps
            if objects:
                ranks[split].append(_ranks_found(boxes, boxes_xywh(objects), iou_threshold=iou_threshold))
    return {split: _recall(np.concatenate(found or [np.zeros(0, np.int64)]), budgets) for split, found in ranks.items()}


def _recall(ranks: npt.NDArray[np.int64], budgets: Sequence[int]) -> ProposalRecall:
    found = {budget: float(np.mean(ranks < budget)) if len(ranks) else None for budget in budgets}
    return ProposalRecall(at=found, num_instances=len(ranks))


def _ranks_found(
    proposals: npt.NDArray[np.float64], objects: npt.NDArray[np.float64], *, iou_threshold: float
) -> npt.NDArray[np.int64]:
    """Return for each object [G] the 0-based rank of the proposal that takes it.

    Greedy matching in rank order is the same for every budget, so one pass serves all of them.
    """
    ranks = np.full(len(objects), _NEVER, dtype=np.int64)
    if not len(proposals):
        return ranks
    ious = np.asarray(coco_mask.iou(proposals, objects, [0] * len(objects)))
    for rank in np.flatnonzero((ious >= iou_threshold).any(axis=1)):
        free = np.where(ranks == _NEVER, ious[rank], -1.0)
        # Of equal overlaps COCOeval takes the last.
        best = len(free) - 1 - int(np.argmax(free[::-1]))
        if free[best] >= iou_threshold:
            ranks[best] = rank
    return ranks
