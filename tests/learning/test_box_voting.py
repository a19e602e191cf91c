"""Boxes voted by all regions that see the same object, against a loop in NumPy."""

from __future__ import annotations

import numpy as np
import torch
from torchvision.ops import box_iou

from xpm_stream.learning.box_voting import vote_boxes

BOXES = torch.tensor([[0.0, 0, 10, 10], [2, 0, 12, 10], [20, 20, 30, 30], [0, 0, 10, 4]])


def test_overlapping_regions_vote_by_overlap_and_by_the_words_probability() -> None:
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(30, 2, generator=generator) * 10
    boxes = torch.cat([corners, corners + 4 + torch.rand(30, 2, generator=generator) * 6], dim=1)
    scores = torch.randn(30, 3, generator=generator) - 1
    chosen = torch.tensor([4, 11, 4])
    expected = []
    for word, region in enumerate(chosen.tolist()):
        ious = box_iou(boxes[region : region + 1], boxes)[0].numpy()
        weights = np.where(ious >= 0.5, ious * np.exp(scores[:, word].numpy()), 0.0)
        expected.append((weights[:, None] * boxes.numpy()).sum(axis=0) / weights.sum())
    voted = vote_boxes(boxes, chosen, scores)
    np.testing.assert_allclose(voted.numpy(), np.stack(expected), rtol=1e-5)
    assert not torch.equal(voted[0], voted[2]), "two words at one region have votes of their own"


def test_a_region_that_overlaps_too_little_has_no_vote_and_one_alone_keeps_its_box() -> None:
    even = torch.zeros(4, 2)
    voted = vote_boxes(BOXES, torch.tensor([0, 2]), even)
    iou = 8 / 12
    expected = [2 * iou / (1 + iou), 0, (10 + 12 * iou) / (1 + iou), 10]
    np.testing.assert_allclose(voted[0].numpy(), expected, rtol=1e-6)
    assert voted[1].tolist() == BOXES[2].tolist()


def test_probabilities_that_vanish_leave_the_chosen_box() -> None:
    assert vote_boxes(BOXES, torch.tensor([0]), torch.full((4, 1), -1e4))[0].tolist() == BOXES[0].tolist()


def test_without_words_or_regions_there_is_nothing_to_vote() -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    assert vote_boxes(BOXES, nothing, torch.zeros(4, 0)).shape == (0, 4)
    assert vote_boxes(torch.zeros(0, 4), nothing, torch.zeros(0, 2)[:, :0]).shape == (0, 4)
