"""Soft Teacher's classification loss against independent NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from xpm_stream.learning.soft_background import soft_background_loss

RNG = np.random.default_rng(5)


def _cross_entropies(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return -(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))[np.arange(len(targets)), targets]


def test_foreground_counts_alike_and_background_by_its_share_of_the_teachers_background_score() -> None:
    logits, targets = RNG.normal(size=(6, 4)), np.array([0, 2, 0, 3, 0, 1])
    scores = np.array([0.9, 0.1, 0.3, 0.8, 0.0, 0.5])
    costs = _cross_entropies(logits, targets)
    shares = np.array([0.9, 0.3, 0.0]) / 1.2
    expected = costs[[1, 3, 5]].mean() + 0.2 * (shares * costs[[0, 2, 4]]).sum()
    got = soft_background_loss(
        torch.tensor(logits), torch.tensor(targets), background_scores=torch.tensor(scores), background_weight=0.2
    )
    assert float(got) == pytest.approx(expected, rel=1e-5)


def test_a_region_the_teacher_takes_for_an_object_is_no_background_to_learn() -> None:
    logits = torch.zeros(2, 3, requires_grad=True)
    soft_background_loss(logits, torch.tensor([0, 0]), background_scores=torch.tensor([1.0, 0.0])).backward()
    assert logits.grad is not None
    assert bool((logits.grad[0] != 0).any())
    assert bool((logits.grad[1] == 0).all())


@pytest.mark.parametrize("targets", [[], [1], [0]])
def test_either_side_may_be_empty(targets: list[int]) -> None:
    loss = soft_background_loss(
        torch.zeros(len(targets), 3),
        torch.tensor(targets, dtype=torch.int64),
        background_scores=torch.zeros(len(targets)),
    )
    assert float(loss) == pytest.approx(np.log(3) if targets == [1] else 0.0, rel=1e-5)
