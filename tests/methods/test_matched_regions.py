"""Pseudo labels carried over to proposals: which proposals, whose word, and what of the mask they see."""

from __future__ import annotations

import torch

from xpm_stream.methods.matched_regions import match_proposals
from xpm_stream.methods.region_batch import PseudoTruth


def _pseudo(boxes: list[list[float]], words: list[str], masks: torch.Tensor) -> PseudoTruth:
    return PseudoTruth(
        words=[*words, "unseen"],
        instance_words=words,
        boxes_xyxy=torch.tensor(boxes).reshape(-1, 4),
        masks=masks,
        reliability=[0.5] * len(words),
    )


def _half(side: int) -> torch.Tensor:
    """The left half of the object's box is object."""
    mask = torch.zeros(1, 28, 28, dtype=torch.uint8)
    mask[:, :, :side] = 1
    return mask


def test_a_proposal_learns_the_word_of_the_box_it_overlaps_most_and_others_learn_nothing() -> None:
    target = _pseudo([[0, 0, 40, 40], [50, 0, 90, 40]], ["dog", "kite"], _half(14).repeat(2, 1, 1))
    proposals = torch.tensor([[52.0, 0, 90, 40], [2, 2, 40, 40], [0, 0, 90, 40], [60, 60, 80, 80]])
    (matched,) = match_proposals([target], [proposals])
    assert matched.instance_words == ["dog", "kite", "kite", "dog"]
    assert matched.boxes_xyxy.tolist() == [*target.boxes_xyxy.tolist(), *proposals[:2].tolist()]
    assert matched.words == target.words
    assert matched.masks.shape == (4, 28, 28)
    assert matched.masks.dtype == torch.uint8
    assert torch.equal(matched.masks[:2], target.masks)


def test_a_proposal_at_the_pseudo_box_sees_the_same_mask() -> None:
    mask = (torch.rand(1, 28, 28, generator=torch.Generator().manual_seed(0)) > 0.5).to(torch.uint8)
    target = _pseudo([[10.0, 20, 66, 48]], ["dog"], mask)
    (matched,) = match_proposals([target], [target.boxes_xyxy.clone()])
    assert (matched.masks[1] == mask[0]).float().mean() > 0.99


def test_the_mask_is_moved_and_scaled_into_the_proposal_and_is_empty_beyond_the_pseudo_box() -> None:
    target = _pseudo([[0, 0, 56, 56]], ["dog"], _half(14))  # object: x < 28
    proposals = torch.tensor([[0.0, 0, 42, 56], [0, 0, 56, 84]])
    (matched,) = match_proposals([target], [proposals])
    narrow, tall = matched.masks[1], matched.masks[2]
    columns = (torch.arange(28) + 0.5) * 42 / 28
    assert torch.equal(narrow[14].bool(), columns < 28)
    rows = (torch.arange(28) + 0.5) * 84 / 28
    assert torch.equal(tall[:, 3].bool(), rows < 56)
    assert tall[-1].sum() == 0


def test_images_without_instances_or_proposals_stay_as_they_are() -> None:
    empty = _pseudo([], [], torch.zeros(0, 28, 28, dtype=torch.uint8))
    some = _pseudo([[0, 0, 56, 56]], ["dog"], _half(14))
    first, second = match_proposals([empty, some], [torch.tensor([[0.0, 0, 10, 10]]), torch.zeros(0, 4)])
    assert first.instance_words == []
    assert second.instance_words == ["dog"]
