"""Negatives gathered across real ranks: loss and averaged gradient are those of one process with the joint batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from rank_processes import run_ranks

from xpm_stream.learning.grounding import equal_pairs, match
from xpm_stream.stages.ranks import Ranks

WORDS = [["dog", "cup"], ["car"], ["kite", "tree"], ["dog", "cup"], ["bird"], ["car", "tree"]]
SHARES = {1: [6], 2: [3, 3], 3: [1, 2, 3]}


def _embedding(word: str) -> torch.Tensor:
    return torch.randn(4, generator=torch.Generator().manual_seed(sum(map(ord, word))))


def _ground(ranks: Ranks, cosine_scale: float | None) -> Any:
    """One linear layer over fixed features, as each rank sees them; its losses and its averaged gradient."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(5, 4)
    features = torch.randn(6, 3, 5)
    start = sum(SHARES[ranks.size][: ranks.number])
    mine = range(start, start + SHARES[ranks.size][ranks.number])
    shared = [words for part in ranks.share([WORDS[index] for index in mine]) for words in part]
    assert shared == WORDS
    matching = match(
        [layer(features[index]) for index in mine],
        [torch.stack([_embedding(word) for word in words]) for words in shared],
        excluded=equal_pairs(shared, [str(index) for index in range(6)]),
        cosine_scale=cosine_scale,
        company=ranks,
    )
    torch.stack(list(matching.losses.values())).sum().backward()
    parameters = list(layer.parameters())
    ranks.average_gradients(parameters)
    values = [float(loss.detach()) for loss in matching.losses.values()]
    return values, [p.grad.tolist() for p in parameters if p.grad is not None], matching.caption_accuracy


@pytest.mark.parametrize("cosine_scale", [None, 20.0])
@pytest.mark.parametrize("size", [2, 3])
def test_ranks_learn_what_one_process_with_all_images_learns(size: int, cosine_scale: float | None) -> None:
    losses, gradients, accuracy = _ground(Ranks(), cosine_scale)
    for answer in run_ranks(size, _ground, cosine_scale):
        assert answer[0] == pytest.approx(losses, rel=1e-5)
        assert answer[2] == accuracy
        for ours, theirs in zip(answer[1], gradients, strict=True):
            torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), rtol=1e-4, atol=1e-6)
