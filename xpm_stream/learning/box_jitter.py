"""Box jitter: how surely a teacher places a box, by how alike it refines shaken copies (Soft
Teacher, Xu et al., ICCV 2021)."""

from __future__ import annotations

import torch
from torch import Tensor

RELIABLE = 0.5  # jitter reliability at the largest deviation that is still trained on


def jitter_boxes(boxes_xyxy: Tensor, *, copies: int, scale: float, generator: torch.Generator) -> Tensor:
    """Shift every side of every box by up to `scale` of the box's width or height, uniformly.

    Args:
        boxes_xyxy: [K, 4].
        copies: N, shaken copies of each box.
        scale: largest shift, as a share of the box's own size.
        generator: on the CPU, so that labels do not depend on the device.

    Returns:
        [K, N, 4]; low sides stay below high ones.
    """
    sizes = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).clamp(min=0).repeat(1, 2)  # [K, 4]: w h w h
    shifts = torch.rand((len(boxes_xyxy), copies, 4), generator=generator).to(boxes_xyxy.device) * 2 - 1
    shaken = boxes_xyxy[:, None] + shifts * scale * sizes[:, None]
    return torch.cat(
        [torch.minimum(shaken[..., :2], shaken[..., 2:]), torch.maximum(shaken[..., :2], shaken[..., 2:])], dim=-1
    )


def box_deviation(refined_xyxy: Tensor, boxes_xyxy: Tensor) -> Tensor:
    """Mean over the four sides of their standard deviation, relative to half of (height + width): [K].

    Args:
        refined_xyxy: [K, N, 4] what the teacher made of N shaken copies; N at least 2.
        boxes_xyxy: [K, 4] the box itself, which gives the size.
    """
    sizes = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).sum(dim=1).clamp(min=1e-6) / 2
    refined = refined_xyxy.float()
    # Not Tensor.std, which warns where there are no boxes.
    variances = (refined - refined.mean(dim=1, keepdim=True)).square().sum(dim=1) / (refined.shape[1] - 1)
    return variances.sqrt().mean(dim=1) / sizes


def jitter_reliability(deviation: Tensor, *, max_deviation: float) -> Tensor:
    """Map deviations to 0..1: 1 for none, RELIABLE at `max_deviation`, falling on; [K] from [K]."""
    return max_deviation / (max_deviation + deviation)
