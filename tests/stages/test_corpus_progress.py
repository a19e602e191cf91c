"""When a run is done, and when a trainer without labels has to make a checkpoint to get more."""

from __future__ import annotations

from typing import Any

import pytest

from xpm_stream.config.data_sections import DataConfig
from xpm_stream.config.queue_sections import QueueConfig
from xpm_stream.label_queue import QueueStats
from xpm_stream.stages.run_end import corpus_finished, only_acknowledging_helps

BUDGET = QueueConfig(max_unacked_labels=10, max_unacked_mb=1)
ZERO: dict[str, Any] = {
    name: None if name == "oldest_label_age_s" else 0
    for name in QueueStats.__dataclass_fields__
    if name not in ("skipped", "dead", "epoch")
}


def _stats(**counts: int) -> QueueStats:
    return QueueStats(**{**ZERO, **counts})


def test_before_a_shard_is_added_nothing_is_finished() -> None:
    assert not corpus_finished(DataConfig(), _stats())


@pytest.mark.parametrize("left", ["unacked_labels", "relabels", "shards_pending", "shards_leased"])
def test_while_anything_is_left_the_corpus_is_not_finished(left: str) -> None:
    assert corpus_finished(DataConfig(), _stats(shards_finished=3))
    assert not corpus_finished(DataConfig(), _stats(shards_finished=3, **{left: 1}))


def test_failed_shards_do_not_hold_a_run_up_and_a_watched_corpus_never_finishes() -> None:
    assert corpus_finished(DataConfig(), _stats(shards_failed=1))
    assert not corpus_finished(DataConfig(watch=True), _stats(shards_finished=3))
    assert not corpus_finished(DataConfig(), _stats(shards_finished=3, watched=1))


def test_a_trainer_that_holds_all_labels_there_will_be_has_to_acknowledge() -> None:
    assert only_acknowledging_helps(BUDGET, _stats(unacked_labels=4, delivered_labels=4))


@pytest.mark.parametrize("coming", ["relabels", "shards_pending", "shards_leased"])
def test_a_trainer_that_is_faster_than_its_labelers_waits(coming: str) -> None:
    assert not only_acknowledging_helps(BUDGET, _stats(unacked_labels=4, delivered_labels=4, **{coming: 1}))
    assert not only_acknowledging_helps(BUDGET, _stats(unacked_labels=5, delivered_labels=4))


@pytest.mark.parametrize(
    "spent",
    [
        {"unacked_labels": 10, "delivered_labels": 10},
        {"unacked_labels": 7, "delivered_labels": 7, "relabels": 3},
        {"unacked_labels": 1, "delivered_labels": 1, "unacked_bytes": 2**20 - 5, "relabel_bytes": 5},
    ],
)
def test_a_spent_budget_is_freed_by_acknowledging_only(spent: dict[str, int]) -> None:
    assert only_acknowledging_helps(BUDGET, _stats(shards_leased=2, **spent))
