"""The seed decides what torch draws, and another trainer epoch draws anew."""

from __future__ import annotations

import torch

from xpm_stream.stages.devices import seed_torch


def test_the_same_seed_and_epoch_draw_the_same() -> None:
    seed_torch(3, epoch=1)
    first = torch.randn(8)
    seed_torch(3, epoch=1)

    assert torch.equal(torch.randn(8), first)


def test_another_seed_or_epoch_draws_something_else() -> None:
    draws = []
    for seed, epoch in ((0, 0), (0, 1), (1, 0)):
        seed_torch(seed, epoch=epoch)
        draws.append(tuple(torch.randn(8).tolist()))

    assert len(set(draws)) == 3
