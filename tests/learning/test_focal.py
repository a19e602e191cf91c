"""Focal loss against independent NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from xpm_stream.learning.focal import focal_loss

RNG = np.random.default_rng(11)


def _probabilities(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (shifted / shifted.sum(axis=1, keepdims=True))[np.arange(len(targets)), targets]


@pytest.mark.parametrize("gamma", [0.0, 1.5, 2.0])
def test_it_is_the_definition_averaged_over_regions(gamma: float) -> None:
    logits, targets = RNG.normal(size=(6, 4)) * 3, RNG.integers(0, 4, size=6)
    weights = np.array([0.2, 1.0, 1.0, 3.0])
    p = _probabilities(logits, targets)
    expected = float(np.mean(weights[targets] * (1 - p) ** gamma * -np.log(p)))
    got = focal_loss(torch.tensor(logits), torch.tensor(targets), gamma=gamma, class_weights=torch.tensor(weights))
    assert float(got) == pytest.approx(expected, rel=1e-5)


def test_a_region_that_is_right_counts_less_than_in_cross_entropy() -> None:
    logits, targets = torch.tensor([[4.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 0])
    right, unsure = (focal_loss(logits[row], targets[row], gamma=1.5) for row in (slice(0, 1), slice(1, 2)))
    cross_entropies = [
        torch.nn.functional.cross_entropy(logits[row], targets[row]) for row in (slice(0, 1), slice(1, 2))
    ]
    assert float(right / unsure) < 0.1 * float(cross_entropies[0] / cross_entropies[1])


def test_a_certain_region_has_a_finite_gradient_and_no_region_costs_nothing() -> None:
    logits = torch.tensor([[200.0, 0.0]], requires_grad=True)
    focal_loss(logits, torch.tensor([0]), gamma=0.5).backward()
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())
    assert float(focal_loss(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), gamma=1.5)) == 0.0
