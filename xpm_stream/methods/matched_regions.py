"""Pseudo labels carried over to the student's own proposals, as ground truth is (the released code's reading)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import box_iou, roi_align

from xpm_stream.methods.region_batch import PseudoTruth

MATCH_IOU = 0.5


def match_proposals(pseudo: Sequence[PseudoTruth], proposals: Sequence[Tensor]) -> list[PseudoTruth]:
    """Let every proposal learn from the pseudo box it overlaps most, if by IoU >= 0.5; pseudo boxes join in.

    Args:
        pseudo: a teacher's instances of each image.
        proposals: [P, 4] of each image, in pixels of the view.
    """
    return [_match(target, boxes) for target, boxes in zip(pseudo, proposals, strict=True)]


def _match(target: PseudoTruth, proposals: Tensor) -> PseudoTruth:
    if not target.instance_words:
        return target
    overlap, matched = box_iou(proposals, target.boxes_xyxy).max(dim=1)
    kept = overlap >= MATCH_IOU
    matched, boxes = matched[kept], proposals[kept]
    own = torch.arange(len(target.instance_words), device=matched.device)
    owners = torch.cat([own, matched]).tolist()
    masks = torch.cat([target.masks, _masks_on_boxes(target, matched, boxes)])
    return PseudoTruth(
        words=target.words,
        instance_words=[target.instance_words[owner] for owner in owners],
        boxes_xyxy=torch.cat([target.boxes_xyxy, boxes]),
        masks=masks,
        reliability=[target.reliability[owner] for owner in owners],
    )


def _masks_on_boxes(target: PseudoTruth, matched: Tensor, boxes: Tensor) -> Tensor:
    """Look at each pseudo mask through a proposal's grid: uint8 [P, g, g]; nothing is known beyond b_o, so 0 there."""
    grid = target.masks.shape[-1]
    frames = target.boxes_xyxy[matched]
    sizes = (frames[:, 2:] - frames[:, :2]).clamp(min=1e-6).repeat(1, 2) / grid
    in_cells = (boxes - frames[:, :2].repeat(1, 2)) / sizes
    # A border of zeros: RoIAlign repeats the outermost cells for a cell beyond them.
    padded = torch.nn.functional.pad(target.masks.float(), (1, 1, 1, 1))
    rois = torch.cat([matched[:, None].to(boxes.dtype), in_cells.to(boxes.dtype) + 1.0], dim=1)
    seen: Tensor = roi_align(padded[:, None].to(boxes.dtype), rois, grid, sampling_ratio=2, aligned=True)
    return (seen[:, 0] >= 0.5).to(target.masks.dtype)
