"""Ranks in real processes: what they share, how gradients are averaged, and what they say when one is gone."""

from __future__ import annotations

import pytest
import torch
from rank_processes import average, drift, lose_a_rank, run_ranks, share

from xpm_stream.errors import ConfigError
from xpm_stream.stages.ranks import Ranks, joined_ranks, rank_of_process


def test_every_rank_gets_every_value_and_the_word_of_the_first() -> None:
    assert run_ranks(3, share) == [(["", "x", "xx"], "rank 0")] * 3


def test_gradients_are_the_mean_over_all_ranks_and_stay_away_where_nobody_has_one() -> None:
    assert run_ranks(2, average) == [[[1.5, 1.5], [3.0, 3.0], None]] * 2


def test_one_process_alone_keeps_its_gradients() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.ones(2)
    with joined_ranks(torch.device("cpu"), timeout_s=1.0) as ranks:
        ranks.average_gradients([parameter])
        assert ranks.share(5) == [5]
    assert (ranks.number, ranks.size, rank_of_process()) == (0, 1, 0)
    assert parameter.grad.tolist() == [1.0, 1.0]


def test_weights_that_drifted_apart_are_noticed() -> None:
    assert run_ranks(2, drift, 0.0) == ["equal", "equal"]
    for answer in run_ranks(2, drift, 0.5):
        assert "drifted apart" in answer


def test_a_rank_that_died_ends_the_others_with_a_clear_error() -> None:
    first, second = run_ranks(2, lose_a_rank)
    assert second == "died"
    assert "lost another rank" in first
    assert "torchrun --max-restarts" in first


def test_a_launcher_that_sets_nonsense_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(ConfigError, match="WORLD_SIZE='two'"), joined_ranks(torch.device("cpu"), timeout_s=1.0):
        pass


def test_a_launcher_that_sets_too_little_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="start them with torchrun"), joined_ranks(torch.device("cpu"), timeout_s=1.0):
        pass


def test_ranks_without_a_launcher_are_one() -> None:
    assert Ranks().first
