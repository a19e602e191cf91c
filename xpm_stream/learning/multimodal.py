"""Masked language modelling and image-text matching: what is drawn for them, and means over all ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from xpm_stream.learning.grounding import Company


def draw_masked(num_tokens: int, *, probability: float, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Draw which of a caption's tokens are hidden, bool [num_tokens]; at least one, so that every caption counts.

    Raises:
        ValueError: there are no tokens.
    """
    if not num_tokens:
        raise ValueError("a caption without tokens has none to mask")
    masked = rng.random(num_tokens) < probability
    if not masked.any():
        masked[rng.integers(num_tokens)] = True
    return masked


def choose_negatives(excluded: Tensor, draws: Sequence[float], *, first: int) -> list[int | None]:
    """Choose another image's caption for each of some images of the joint batch.

    Args:
        excluded: bool [B, B]: captions (columns) that are no true negatives of an image (row).
        draws: for each of these images a number in [0, 1) that decides among its true negatives.
        first: the row of the first of these images.

    Returns:
        For each image a column, none where it has no true negative.
    """
    chosen: list[int | None] = []
    for row, draw in enumerate(draws, start=first):
        allowed = [column for column in (~excluded[row]).nonzero()[:, 0].tolist() if column != row]
        chosen.append(allowed[int(draw * len(allowed))] if allowed else None)
    return chosen


def joint_means(values: Mapping[str, Tensor], company: Company) -> dict[str, Tensor]:
    """Return the mean of each kind of value over all ranks; every rank calls this together with the same names.

    Ranks may hold unlike numbers of values, none included, and each value weighs the same. Averaged over ranks, the
    gradients are those of the joint means: the gradient, not the mean, is multiplied by the number of ranks here.

    Args:
        values: by name, this rank's [K], with or without a graph.
        company: the ranks.

    Raises:
        ValueError: no rank has any value of a name.
    """
    sums = {name: value.sum() for name, value in values.items()}
    mine = {name: [float(sums[name].detach()), float(len(value))] for name, value in values.items()}
    shared = company.share(mine)
    means = {}
    for name, total in sums.items():
        count = sum(part[name][1] for part in shared)
        if not count:
            raise ValueError(f"no rank has a value of {name}")
        share = total / count
        joint = sum(part[name][0] for part in shared) / count
        means[name] = joint + company.size * (share - share.detach())
    return means
