"""What masked language modelling and image-text matching draw, and their means, by hand."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import pytest
import torch

from xpm_stream.learning.grounding import Alone
from xpm_stream.learning.multimodal import choose_negatives, draw_masked, joint_means

T = TypeVar("T")


class _SecondOfTwo:
    """Rank 1 of two, beside one whose two values are 1 and 5."""

    number, size = 1, 2

    def share(self, value: T) -> list[T]:
        return [{"loss": [6.0, 2.0]}, value]  # type: ignore[list-item]


def test_about_the_asked_share_of_tokens_is_masked_and_always_one() -> None:
    rng = np.random.default_rng(0)
    long = [draw_masked(200, probability=0.15, rng=rng) for _ in range(100)]
    assert np.mean(long) == pytest.approx(0.15, abs=0.01)
    short = np.array([draw_masked(2, probability=0.01, rng=rng) for _ in range(400)])
    assert short.any(axis=1).all()
    assert short.mean(axis=0) == pytest.approx([0.5, 0.5], abs=0.1)  # not always the first
    with pytest.raises(ValueError, match="without tokens"):
        draw_masked(0, probability=0.15, rng=rng)


def test_a_negative_is_any_other_caption_that_is_not_excluded() -> None:
    excluded = torch.zeros((4, 4), dtype=torch.bool)
    excluded[2, 0] = excluded[0, 2] = True
    assert choose_negatives(excluded, [0.49, 0.999], first=2) == [1, 2]
    assert choose_negatives(excluded, [0.5], first=2) == [3]
    assert choose_negatives(excluded, [0.0, 0.4, 0.7], first=1) == [0, 1, 2]
    drawn = {choose_negatives(excluded, [draw / 100], first=1)[0] for draw in range(100)}
    assert drawn == {0, 2, 3}


def test_an_image_whose_others_all_say_the_same_has_no_negative() -> None:
    excluded = torch.tensor([[False, True, False], [True, False, True], [False, True, False]])
    assert choose_negatives(excluded, [0.9, 0.9, 0.9], first=0) == [2, None, 0]


def test_a_mean_over_ranks_weighs_each_value_the_same_and_so_does_its_averaged_gradient() -> None:
    values = torch.tensor([9.0], requires_grad=True)
    mean = joint_means({"loss": values}, _SecondOfTwo())["loss"]
    mean.backward()
    assert float(mean.detach()) == 5.0
    assert values.grad is not None
    assert values.grad.tolist() == [pytest.approx(2 / 3)]  # halved by averaging: 1/3, as of three values
    assert float(joint_means({"loss": torch.zeros(0)}, _SecondOfTwo())["loss"]) == 3.0


def test_a_mean_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no rank has a value of loss"):
        joint_means({"loss": torch.zeros(0)}, Alone())
