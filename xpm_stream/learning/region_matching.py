"""Which instance each region of an image belongs to, by overlap."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import box_iou

UNMATCHED = -1


def match_regions(boxes_xyxy: Tensor, instances_xyxy: Tensor, *, min_iou: float = 0.5) -> Tensor:
    """Return the instance that each region overlaps most: int64 [R], UNMATCHED where that is below `min_iou`.

    Args:
        boxes_xyxy: [R, 4].
        instances_xyxy: [K, 4]; K may be 0.
        min_iou: the least intersection over union of a match.
    """
    if len(instances_xyxy) == 0 or len(boxes_xyxy) == 0:
        return torch.full((len(boxes_xyxy),), UNMATCHED, dtype=torch.int64, device=boxes_xyxy.device)
    overlap, instance = box_iou(boxes_xyxy, instances_xyxy).max(dim=1)
    return torch.where(overlap >= min_iou, instance, UNMATCHED)
