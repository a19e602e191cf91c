"""Which (region, class) pairs are detections: threshold, and non-maximum suppression for each class."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import batched_nms


def select_detections(
    boxes_xyxy: Tensor, scores: Tensor, *, score_threshold: float, nms_iou: float, max_detections: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Every (region, class) pair above the threshold, after NMS per class, best first.

    Args:
        boxes_xyxy: [R, 4].
        scores: [R, C] class probabilities, without the background's.
        score_threshold: pairs at or below it are dropped.
        nms_iou: of two boxes of a class that overlap above this, the better one stays.
        max_detections: most pairs returned.

    Returns:
        Boxes [K, 4], scores [K], classes int64 [K].
    """
    regions, classes = torch.nonzero(scores > score_threshold, as_tuple=True)
    chosen_boxes, chosen_scores = boxes_xyxy[regions], scores[regions, classes]
    keep = batched_nms(chosen_boxes, chosen_scores, classes, nms_iou)[:max_detections]
    return chosen_boxes[keep], chosen_scores[keep], classes[keep]
