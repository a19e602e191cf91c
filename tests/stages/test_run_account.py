"""The account of a run whose trainer works on while it is made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from xpm_stream.config import RunConfig
from xpm_stream.config.loading import parse_config
from xpm_stream.label_queue import CommitBatch, Cursor, LabelQueue, ShardRecord, TrainedLedger, connect, start_or_join
from xpm_stream.label_queue.shards import EncodedLabel
from xpm_stream.records import ShardId
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.stages import run_account
from xpm_stream.stages.training_state import TRAINING, TrainingState

SHARD = ShardRecord(url="file:///shards/a.tar", shard_id=ShardId("a"))


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    return parse_config({"folder": str(tmp_path / "run")}, source="test")


@pytest.fixture
def queue(config: RunConfig) -> Iterator[LabelQueue]:
    """Two labels, committed."""
    folder = Path(str(config.folder))
    with (
        start_or_join(config.redis, run_folder=folder),
        connect(config.redis, config.queue, run_folder=folder) as queue,
    ):
        queue.add_shards([SHARD])
        lease = queue.acquire("labeler")
        assert lease is not None
        labels = [EncodedLabel(sample=SHARD.sample(ordinal), data=b"label") for ordinal in (0, 1)]
        queue.commit(lease, CommitBatch(cursor=Cursor(2, 1024), labels=labels))
        yield queue


def write_checkpoint(config: RunConfig, number: int, *, trained: int) -> CheckpointStore:
    ledger = TrainedLedger()
    for ordinal in range(trained):
        ledger.add(SHARD.sample(ordinal))
    store = CheckpointStore(f"{config.folder}/registry/resume")
    files = {TRAINING: TrainingState().encode(ledger.to_dict()), "model.safetensors": b"weights"}
    store.write(f"student-{number}", files, order=(1, number))
    return store


def test_labels_acknowledged_while_the_account_is_made_are_not_missing(
    config: RunConfig, queue: LabelQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(config, 1, trained=0)

    def trainer_goes_on(*arguments: Any, **options: Any) -> LabelQueue:
        queue.raise_epoch()
        deliveries = queue.read("rank0", count=2)
        write_checkpoint(config, 2, trained=2)
        assert queue.acknowledge(deliveries) == 2
        return connect(*arguments, **options)

    monkeypatch.setattr(run_account, "connect", trainer_goes_on)
    audit = run_account.account_of(config).audit
    assert audit.ok, audit.problems()
    assert audit.totals()["trained"] == 2


def test_a_checkpoint_pruned_before_it_is_read_makes_room_for_a_newer_one(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(config, 1, trained=1)
    read = CheckpointStore.read

    def after_the_trainer_pruned_it(store: CheckpointStore, name: str, **options: Any) -> dict[str, bytes]:
        if name == "student-1":
            write_checkpoint(config, 2, trained=2)
            store.prune(keep=1)
        return read(store, name, **options)

    monkeypatch.setattr(CheckpointStore, "read", after_the_trainer_pruned_it)
    assert len(run_account.last_training_state(config)[1]) == 2


def test_of_a_checkpoint_only_the_trainers_state_is_read(config: RunConfig) -> None:
    write_checkpoint(config, 1, trained=1)
    weights = Path(str(config.folder)) / "registry" / "resume" / "student-1" / "model.safetensors"
    weights.unlink()  # what is not there cannot be read
    assert len(run_account.last_training_state(config)[1]) == 1
