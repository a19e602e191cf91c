"""Which RoIs of an annotated image are trained on, and what each should become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler, BoxCoder, Matcher
from torchvision.ops import box_iou, roi_align

from xpm_stream.engines.base import GroundTruth
from xpm_stream.learning.losses import BACKGROUND

FOREGROUND_IOU = 0.5
POSITIVE_FRACTION = 0.25
BOX_DELTA_WEIGHTS = (10.0, 10.0, 5.0, 5.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledRois:
    """RoIs of a batch with their targets; R over all images, P of them positive."""

    boxes_xyxy: list[Tensor]  # for each image [R_i, 4]
    labels: Tensor  # int64 [R]: column of the logits, BACKGROUND or 1 + class index
    positives: Tensor  # int64 [P], rows that are positive
    box_deltas: Tensor  # [P, 4] what the positives should regress
    positive_boxes_xyxy: list[Tensor]  # for each image [P_i, 4]
    masks: Tensor  # [P, g, g] what the positives' masks should be, 0..1


class RoiSampler:
    """Samples RoIs as Mask R-CNN does: IoU >= 0.5 is positive, at most a quarter positive, ground truth joins in."""

    def __init__(self, *, rois_per_image: int, mask_grid: int) -> None:
        self._mask_grid = mask_grid
        self._matcher = Matcher(FOREGROUND_IOU, FOREGROUND_IOU, allow_low_quality_matches=False)
        self._sampler = BalancedPositiveNegativeSampler(rois_per_image, POSITIVE_FRACTION)
        self.box_coder = BoxCoder(BOX_DELTA_WEIGHTS)

    def sample(self, proposals: Sequence[Tensor], truth: Sequence[GroundTruth]) -> SampledRois:
        """Choose RoIs of each image; images without instances give background only."""
        parts = [self._sample_one(boxes.detach(), target) for boxes, target in zip(proposals, truth, strict=True)]
        labels = torch.cat([part[1] for part in parts])
        return SampledRois(
            boxes_xyxy=[part[0] for part in parts],
            labels=labels,
            positives=torch.nonzero(labels != BACKGROUND)[:, 0],
            box_deltas=torch.cat([part[2] for part in parts]),
            positive_boxes_xyxy=[part[3] for part in parts],
            masks=torch.cat([part[4] for part in parts]),
        )

    def _sample_one(self, proposals: Tensor, truth: GroundTruth) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        gt_boxes = truth.boxes_xyxy.to(proposals.dtype)
        boxes = torch.cat([proposals, gt_boxes])
        if gt_boxes.shape[0] == 0:
            matched = boxes.new_zeros(boxes.shape[0], dtype=torch.int64)
            labels = torch.full_like(matched, BACKGROUND)
        else:
            found = self._matcher(box_iou(gt_boxes, boxes))
            matched = found.clamp(min=0)
            labels = torch.where(found >= 0, truth.class_indices[matched] + 1, BACKGROUND)
        positive_mask, negative_mask = self._sampler([labels])
        chosen = torch.nonzero(positive_mask[0] | negative_mask[0])[:, 0]
        boxes, labels, matched = boxes[chosen], labels[chosen], matched[chosen]
        positive = labels != BACKGROUND
        own, positive_boxes = matched[positive], boxes[positive]
        deltas = self.box_coder.encode_single(gt_boxes[own], positive_boxes)
        return boxes, labels, deltas, positive_boxes, self._masks_on_boxes(truth.masks, own, positive_boxes)

    def _masks_on_boxes(self, masks: Tensor, own: Tensor, boxes: Tensor) -> Tensor:
        """Crop each box's mask onto the RoI grid: [P, g, g]. Pixel centres count, as where masks are pasted back."""
        if own.numel() == 0:
            return boxes.new_zeros((0, self._mask_grid, self._mask_grid))
        used, rows = torch.unique(own, return_inverse=True)  # decode only the masks that are needed
        rois = torch.cat([rows[:, None].to(boxes.dtype), boxes], dim=1)
        source = masks[used][:, None].to(boxes.dtype)
        cropped: Tensor = roi_align(source, rois, self._mask_grid, aligned=True)
        return cropped[:, 0]
