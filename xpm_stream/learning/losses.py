"""The losses of XPM, one small function for each equation of the paper (Huynh et al., CVPR 2022).

All are computed in float32 whatever the precision of the network: callers hand over what the heads gave.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from xpm_stream.errors import TrainingError

BACKGROUND = 0  # column of the background in every logit matrix; words follow from column 1


def class_logits(embeddings: Tensor, class_embeddings: Tensor, *, scale: float | None = None) -> Tensor:
    """Score regions against words (Eq. 1): v_o . h_emb(f_r), with a zero background embedding in column 0.

    `scale` turns the paper's dot product into `scale` times the cosine.

    Args:
        embeddings: [R, D] visual embeddings.
        class_embeddings: [V, D] text embeddings.
        scale: of the cosine logits; none for the plain dot product.

    Returns:
        [R, 1 + V] float32. The zero vector scores 0 with everything, so the background logit is 0.
    """
    visual, text = embeddings.float(), class_embeddings.float()
    if scale is not None:
        visual = functional.normalize(visual, dim=1) * scale
        text = functional.normalize(text, dim=1)
    # Autocast would round logits to bfloat16, coarser than the differences that decide between words.
    with torch.autocast(visual.device.type, enabled=False):
        logits = visual @ text.T
    return functional.pad(logits, (1, 0))


def word_log_probabilities(logits: Tensor, *, background: bool) -> Tensor:
    """Return log softmax over V_C (and background): [R, V] from logits [R, 1 + V] of `class_logits`."""
    if background:
        return functional.log_softmax(logits, dim=1)[:, 1:]
    return functional.log_softmax(logits[:, 1:], dim=1)


def cross_modal_loss(
    logits: Tensor, word_indices: Tensor, *, background: bool, weights: Tensor | None = None
) -> Tensor:
    """Mean over objects of -log softmax over V_C of each word at its region (Eq. 3), weighted by alpha for L_X^alpha.

    The paper sums; the mean over objects keeps the step size independent of how many words a batch has. Weighted terms
    are divided by the number of objects, not by the sum of weights: low reliability must lower the loss.

    Args:
        logits: [K, 1 + V] of the K aligned regions b_o.
        word_indices: int64 [K], rows of V_C.
        background: whether the softmax includes the background (the paper's does not).
        weights: [K] alpha of Eq. 7; detached here, so that L_X^alpha never trains g_noise.
    """
    chosen = word_log_probabilities(logits, background=background).gather(1, word_indices[:, None])[:, 0]
    if weights is not None:
        chosen = chosen * weights.detach()
    return -chosen.sum() / max(len(word_indices), 1)


def binarise_mask(logits: Tensor) -> Tensor:
    """M_o = 1[h_mask(f_{b_o}) >= 0] on the RoI grid (Eq. 4): bool, same shape."""
    return logits >= 0


def pseudo_mask_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Pixel-wise BCE of the student's mask logits against pseudo masks (Eq. 5), averaged over pixels and objects.

    Args:
        logits: [K, g, g].
        masks: [K, g, g] of 0 and 1.
    """
    total = functional.binary_cross_entropy_with_logits(logits.float(), masks.float(), reduction="sum")
    return total / max(logits.numel(), 1)


def noisy_mask_loss(logits: Tensor, masks: Tensor, *, noise_log_variance: Tensor, epsilon: Tensor) -> Tensor:
    """Eq. 5 with Gaussian noise of the estimated variance g_noise on the logits (Eq. 6), reparametrised, one sample.

    Args:
        logits: [K, g, g].
        masks: [K, g, g] of 0 and 1.
        noise_log_variance: [K, g, g] log of g_noise.
        epsilon: [K, g, g] drawn from N(0, 1) by the caller.
    """
    sigma = torch.exp(noise_log_variance.float() / 2)
    return pseudo_mask_loss(logits.float() + epsilon * sigma, masks)


def mean_noise(noise_log_variance: Tensor) -> Tensor:
    """Average pixel noise of each object, the denominator of Eq. 7: [K] from log variances [K, g, g]."""
    return noise_log_variance.float().exp().mean(dim=(1, 2))


def noise_reliability(noise: Tensor, *, eta: float, limit: bool = True) -> Tensor:
    """alpha(o) = eta / mean noise (Eq. 7), detached, and at most 1 unless `limit` is off: [K] from mean noises [K]."""
    alpha = eta / noise.detach()
    return alpha.clamp(max=1.0) if limit else alpha


def require_finite(losses: Mapping[str, Tensor]) -> None:
    """Stop the step if a loss is not finite: a failed loss never becomes zero.

    Raises:
        TrainingError: naming every loss that is not finite.
    """
    if not losses or bool(torch.isfinite(torch.stack([loss.detach() for loss in losses.values()])).all()):
        return
    broken = ", ".join(f"{name}={float(loss.detach())}" for name, loss in losses.items() if not torch.isfinite(loss))
    raise TrainingError(
        f"loss not finite: {broken}; lower optimiser.learning_rate or optimiser.clip_norm, use trainer.precision: "
        "fp32, or resume from the last checkpoint"
    )
