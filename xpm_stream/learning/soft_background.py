"""Background that counts as much as the teacher is sure of it (Soft Teacher)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from xpm_stream.learning.losses import BACKGROUND


def soft_background_loss(
    logits: Tensor, targets: Tensor, *, background_scores: Tensor, background_weight: float = 1.0
) -> Tensor:
    """Soft Teacher's classification loss (Xu et al., ICCV 2021).

    Foreground regions count alike; each background region counts by its share w_j = r_j / sum(r) of the teacher's
    background scores, so that a region where the teacher sees an object it is unsure of hardly counts.

    Args:
        logits: [R, 1 + C], background first.
        targets: int64 [R], columns of `logits`, BACKGROUND or 1 + class.
        background_scores: [R] r_j, the teacher's probability of background; read of background regions only.
        background_weight: a factor of the whole background term, as the detection loss has one.

    Returns:
        Mean over foreground plus weighted mean over background; either is zero where it has no region.
    """
    losses = functional.cross_entropy(logits.float(), targets, reduction="none")
    behind = targets == BACKGROUND
    shares = torch.where(behind, background_scores.detach().float(), 0.0)
    front = losses[~behind].sum() / max(int((~behind).sum()), 1)
    return front + background_weight * (losses * shares).sum() / shares.sum().clamp(min=1e-6)
