"""Shaken boxes, and how far apart a teacher puts them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from xpm_stream.learning.box_jitter import RELIABLE, box_deviation, jitter_boxes, jitter_reliability

BOXES = torch.tensor([[10.0, 20.0, 30.0, 60.0], [0.0, 0.0, 4.0, 2.0]])


def test_every_side_moves_by_at_most_its_share_of_the_boxs_own_size_and_reaches_far() -> None:
    shaken = jitter_boxes(BOXES, copies=2000, scale=0.1, generator=torch.Generator().manual_seed(0))
    assert shaken.shape == (2, 2000, 4)
    moved = (shaken - BOXES[:, None]).abs()
    limits = torch.tensor([[2.0, 4.0, 2.0, 4.0], [0.4, 0.2, 0.4, 0.2]])
    assert bool((moved.amax(dim=1) <= limits + 1e-4).all())
    assert bool((moved.amax(dim=1) >= 0.95 * limits).all())
    assert bool(((shaken - BOXES[:, None]).mean(dim=1).abs() < 0.1 * limits).all())  # not to one side


def test_the_same_seed_shakes_alike_and_large_shifts_leave_boxes_boxes() -> None:
    def shake() -> torch.Tensor:
        return jitter_boxes(BOXES, copies=50, scale=1.0, generator=torch.Generator().manual_seed(3))

    torch.testing.assert_close(shake(), shake())
    assert bool((shake()[..., :2] <= shake()[..., 2:]).all())


def test_the_deviation_is_the_mean_of_four_standard_deviations_by_half_of_height_and_width() -> None:
    refined = BOXES[:, None].numpy() + np.random.default_rng(1).normal(size=(2, 7, 4)) * [1, 2, 3, 4]
    expected = refined.std(axis=1, ddof=1).mean(axis=1) / np.array([(20 + 40) / 2, (4 + 2) / 2])
    np.testing.assert_allclose(box_deviation(torch.tensor(refined), BOXES).numpy(), expected, rtol=1e-5)


def test_without_boxes_there_are_no_deviations() -> None:
    assert box_deviation(torch.zeros(0, 10, 4), torch.zeros(0, 4)).shape == (0,)
    assert jitter_boxes(torch.zeros(0, 4), copies=3, scale=0.1, generator=torch.Generator()).shape == (0, 3, 4)


def test_a_teacher_that_puts_all_copies_in_one_place_is_fully_reliable() -> None:
    still = box_deviation(BOXES[:, None].expand(2, 5, 4), BOXES)
    assert jitter_reliability(still, max_deviation=0.02).tolist() == [1.0, 1.0]


def test_reliability_crosses_its_limit_at_the_largest_deviation_and_only_falls() -> None:
    values = jitter_reliability(torch.tensor([0.0, 0.01, 0.02, 0.04, 1.0]), max_deviation=0.02)
    assert values.tolist() == pytest.approx([1.0, 2 / 3, RELIABLE, 1 / 3, 0.02 / 1.02])
