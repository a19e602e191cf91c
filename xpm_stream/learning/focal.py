"""Focal classification loss over a softmax (Lin et al., 2017), as Unbiased Teacher takes it (Liu et al., ICLR 2021)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def focal_loss(logits: Tensor, targets: Tensor, *, gamma: float, class_weights: Tensor | None = None) -> Tensor:
    """Mean over R regions of (1 - p)^gamma * -log p of the target's softmax probability p; zero for no regions.

    Args:
        logits: [R, C].
        targets: int64 [R], columns of `logits`.
        gamma: how much less a region counts that is already right; 0 is cross-entropy.
        class_weights: [C] factors by target; none: 1.
    """
    log_probability = functional.log_softmax(logits.float(), dim=1).gather(1, targets[:, None])[:, 0]
    # log(p) of a certain region is 0 and its slope there is finite; (1 - p) is clamped for fractional gammas.
    losses = -log_probability * (1.0 - log_probability.exp()).clamp(min=1e-12) ** gamma
    if class_weights is not None:
        losses = losses * class_weights[targets]
    return losses.sum() / max(len(targets), 1)
