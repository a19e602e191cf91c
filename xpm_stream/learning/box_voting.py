"""A box from all regions that see the same object, instead of the best one alone."""

from __future__ import annotations

from torch import Tensor
from torchvision.ops import box_iou


def vote_boxes(boxes_xyxy: Tensor, chosen: Tensor, log_probabilities: Tensor, *, vote_iou: float = 0.5) -> Tensor:
    """Mean of the boxes that overlap each chosen one, weighted by IoU with it and by the word's probability there.

    Box voting (Gidaris and Komodakis, ICCV 2015), with the word's probability as the score.

    Args:
        boxes_xyxy: [R, 4] of all regions.
        chosen: int64 [K], the region of each word.
        log_probabilities: [R, K] of each word at all regions.
        vote_iou: regions that overlap the chosen one less have no vote.

    Returns:
        [K, 4].
    """
    picked = boxes_xyxy[chosen]
    overlap = box_iou(picked, boxes_xyxy)
    votes = overlap * (overlap >= vote_iou) * log_probabilities.T.exp()
    # The chosen box is of IoU 1 with itself; where its probability underflows, it stands alone.
    total = votes.sum(dim=1, keepdim=True)
    voted: Tensor = votes @ boxes_xyxy / total.clamp(min=1e-12)
    return voted.where(total > 1e-12, picked)
