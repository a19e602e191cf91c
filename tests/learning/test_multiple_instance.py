"""Multiple-instance detection and its refinement, against NumPy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from xpm_stream.learning.multiple_instance import (
    image_label_loss,
    refinement_loss,
    refinement_targets,
    two_stream_scores,
)

RNG = np.random.default_rng(2)


def _softmax(x: np.ndarray, axis: int) -> np.ndarray:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def test_two_streams_are_a_softmax_over_classes_times_one_over_proposals() -> None:
    logits = RNG.normal(size=(5, 3)) * 2
    got = two_stream_scores(torch.tensor(logits)).numpy()
    np.testing.assert_allclose(got, _softmax(logits, 1) * _softmax(logits, 0), rtol=1e-5)
    sums = got.sum(axis=0)
    assert ((sums > 0) & (sums < 1)).all()


def test_the_image_loss_is_binary_cross_entropy_of_the_summed_scores() -> None:
    scores, labels = _softmax(RNG.normal(size=(5, 3)), 0) * 0.8, np.array([1, 0, 1])
    p = scores.sum(axis=0)
    expected = -(labels * np.log(p) + (1 - labels) * np.log(1 - p)).sum()
    assert float(image_label_loss(torch.tensor(scores), torch.tensor(labels))) == pytest.approx(expected, rel=1e-5)


def test_minimising_it_finds_the_one_proposal_that_differs() -> None:
    """Two images share a proposal, and only one has the class: the class must go to what the other lacks."""
    shared, special = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    weights = torch.zeros(2, 2, requires_grad=True)
    optimiser = torch.optim.SGD([weights], lr=1.0)
    for _ in range(200):
        loss = image_label_loss(two_stream_scores(torch.stack([shared, special]) @ weights), torch.tensor([1, 0]))
        loss = loss + image_label_loss(two_stream_scores(torch.stack([shared, shared]) @ weights), torch.tensor([0, 1]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    scores = two_stream_scores(torch.stack([shared, special]) @ weights.detach())
    assert float(scores[1, 0]) > 0.8
    assert float(scores[0, 0]) < 0.1


def test_refinement_gives_each_label_the_surroundings_of_its_best_proposal() -> None:
    boxes = torch.tensor(
        [
            [0.0, 0.0, 10.0, 10.0],  # best of class 2
            [0.0, 0.0, 10.0, 8.0],  # IoU 0.8 with it
            [0.0, 0.0, 10.0, 4.0],  # IoU 0.4: background, nearest to it
            [20.0, 0.0, 30.0, 10.0],  # best of class 0
        ]
    )
    scores = torch.tensor([[0.1, 0.9, 0.5], [0.1, 0.0, 0.2], [0.0, 0.0, 0.1], [0.3, 0.0, 0.0]])
    targets, weights = refinement_targets(scores, torch.tensor([1, 0, 1]), boxes)
    assert targets.tolist() == [3, 3, 0, 1]
    assert weights.tolist() == pytest.approx([0.5, 0.5, 0.5, 0.3])


def test_two_labels_with_one_best_proposal_leave_it_to_the_surer_one() -> None:
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [50.0, 0.0, 60.0, 10.0]])
    for sure in (0, 1):
        scores = torch.zeros(2, 2)
        scores[0] = 0.2
        scores[0, sure] = 0.6
        targets, weights = refinement_targets(scores, torch.tensor([1, 1]), boxes)
        assert targets.tolist() == [sure + 1, 0]
        assert weights[0].item() == pytest.approx(0.6)


def test_the_refinement_loss_is_weighted_cross_entropy_over_all_proposals() -> None:
    logits, targets, weights = RNG.normal(size=(4, 3)), np.array([0, 2, 1, 0]), np.array([0.5, 0.2, 0.9, 0.1])
    costs = -np.log(_softmax(logits, 1))[np.arange(4), targets]
    expected = (costs * weights * np.array([0.3, 1, 1, 0.3])).mean()
    got = refinement_loss(torch.tensor(logits), torch.tensor(targets), torch.tensor(weights), background_weight=0.3)
    assert float(got) == pytest.approx(expected, rel=1e-5)


def test_targets_carry_no_gradient_to_the_scores_they_came_from() -> None:
    logits = torch.randn(3, 2, requires_grad=True)
    _, weights = refinement_targets(two_stream_scores(logits), torch.tensor([1, 0]), torch.rand(3, 4))
    assert not weights.requires_grad
