"""Captions read on real ranks: losses, accuracies and averaged gradients are those of one process with all images."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from rank_processes import run_ranks

from xpm_stream.config.network_sections import PretrainingConfig
from xpm_stream.learning.grounding import equal_pairs
from xpm_stream.methods.caption_reading import TokenBatch, read_captions
from xpm_stream.networks.multimodal_transformer import MultimodalTransformer
from xpm_stream.stages.ranks import Ranks

NOUNS = [["dog"], ["car"], ["dog"], ["dog"], ["bird"]]  # images 0 and 2 meet captions of another rank only
TOKENS = [[3, 7, 1], [2], [4, 4, 9, 0, 6], [8, 1], [5, 6]]
MASKED = [[False, True, False], [True], [True, False, True, True, True], [False, True], [True, False]]
DRAWS = [0.0, 0.7, 0.9, 0.3, 0.99]
SHARES = {1: [5], 2: [1, 4]}


def _learn(ranks: Ranks) -> Any:
    torch.manual_seed(0)
    network = MultimodalTransformer(torch.randn(11, 8), region_dimension=5, layers=1, heads=2, max_tokens=6)
    regions = [torch.randn(1 + index, 5) for index in range(5)]
    start = sum(SHARES[ranks.size][: ranks.number])
    mine = slice(start, start + SHARES[ranks.size][ranks.number])
    reading = read_captions(
        network,
        TokenBatch(tokens=TOKENS[mine], masked=MASKED[mine], draws=DRAWS[mine]),
        regions[mine],
        excluded=equal_pairs(NOUNS, list("abcde")),
        config=PretrainingConfig(),
        company=ranks,
    )
    torch.stack(list(reading.losses.values())).sum().backward()
    parameters = list(network.parameters())
    ranks.average_gradients(parameters)
    values = [float(loss.detach()) for loss in reading.losses.values()]
    accuracies = [reading.masked_accuracy, reading.match_accuracy]
    return [*values, *accuracies], [p.grad.tolist() for p in parameters if p.grad is not None]


def test_ranks_read_what_one_process_with_all_images_reads() -> None:
    values, gradients = _learn(Ranks())
    for answer in run_ranks(2, _learn):
        assert answer[0] == pytest.approx(values, rel=1e-5)
        for ours, theirs in zip(answer[1], gradients, strict=True):
            torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), rtol=1e-4, atol=1e-6)
