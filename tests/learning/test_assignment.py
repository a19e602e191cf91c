"""Words to regions: Eq. 2's argmax, and the exclusive greedy form."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou

from xpm_stream.learning.assignment import align_words, align_words_exclusively, find_assignment

BOXES = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 30], [50, 50, 60, 60]])  # 0 and 1 overlap


def test_argmax_lets_two_words_claim_one_region() -> None:
    scores = torch.tensor([[5.0, 1, 1, 0], [4, 3, 2, 1]])
    assert align_words(scores, BOXES).tolist() == [0, 0]


def test_exclusive_gives_the_best_pair_first_and_blocks_what_overlaps_it() -> None:
    scores = torch.tensor([[5.0, 1, 1, 0], [4, 3, 2, 1]])
    assert align_words_exclusively(scores, BOXES).tolist() == [0, 2]  # region 1 overlaps region 0


def test_a_word_that_finds_every_region_blocked_gets_none() -> None:
    scores = torch.tensor([[1.0, 0], [3, 2]])
    assert align_words_exclusively(scores, BOXES[:2]).tolist() == [-1, 0]


def test_without_regions_or_words_nothing_is_assigned() -> None:
    for name in ("argmax", "exclusive"):
        assign = find_assignment(name, block_iou=0.5)  # type: ignore[arg-type]
        assert assign(torch.zeros(2, 0), torch.zeros(0, 4)).tolist() == [-1, -1]
        assert assign(torch.zeros(0, 4), BOXES).tolist() == []


@given(st.integers(1, 6), st.integers(1, 12), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_exclusive_regions_never_overlap_above_the_limit(words: int, regions: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(regions, 2, generator=generator) * 20
    boxes = torch.cat([corners, corners + 1 + torch.rand(regions, 2, generator=generator) * 20], dim=1)
    scores = torch.randn(words, regions, generator=generator)
    found = align_words_exclusively(scores, boxes, block_iou=0.5)
    used = found[found >= 0]
    assert len(used) == len(set(used.tolist()))
    overlaps = box_iou(boxes[used], boxes[used]).fill_diagonal_(0)
    assert (overlaps <= 0.5).all()
    best_word, _ = divmod(int(scores.argmax()), regions)
    assert found[best_word] == scores[best_word].argmax()
