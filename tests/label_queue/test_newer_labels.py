"""Labels that a newer release wrote: an older trainer stops, and nothing of them is lost or held against them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from queue_examples import label, shard

from xpm_stream.errors import SchemaTooNew
from xpm_stream.label_queue import CommitBatch, Cursor, EncodedLabel, LabelQueue, TrainedLedger
from xpm_stream.label_queue.codec import encode
from xpm_stream.records import SampleId


def of_newer_release(sample: SampleId) -> EncodedLabel:
    wire = msgspec.msgpack.decode(encode(label(sample)))
    return EncodedLabel(sample=sample, data=msgspec.msgpack.encode([2, *wire[1:], "a field of the future"]))


def commit_two_and_a_newer_one(queue: LabelQueue) -> None:
    queue.add_shards([shard("a")])
    lease = queue.acquire("labeler")
    assert lease is not None
    samples = [lease.shard.sample(ordinal) for ordinal in range(3)]
    labels: list[Any] = [label(samples[0]), label(samples[1]), of_newer_release(samples[2])]
    queue.commit(lease, CommitBatch(cursor=Cursor(3, 512), labels=labels, finished=True))


def test_an_older_trainer_trains_what_comes_before_and_stops_at_a_newer_label(queue: LabelQueue) -> None:
    commit_two_and_a_newer_one(queue)
    queue.raise_epoch()
    before = queue.read("rank0", count=2)
    assert len(before) == 2
    for _ in range(2):
        with pytest.raises(SchemaTooNew, match="update this one"):
            queue.read("rank0", count=2)
    assert queue.acknowledge(before) == 2
    ledger = TrainedLedger()
    for delivery in before:
        assert delivery.sample is not None
        ledger.add(delivery.sample)
    report, stats = queue.audit(ledger), queue.stats()
    assert report.ok
    assert (report.totals()["queued"], stats.dead_letters) == (1, 0)


def test_however_often_an_older_trainer_starts_a_newer_label_is_not_buried(
    queue: LabelQueue, open_queue: Callable[..., LabelQueue]
) -> None:
    commit_two_and_a_newer_one(queue)
    for _ in range(8):
        trainer = open_queue(max_attempts=1)
        trainer.raise_epoch()
        with pytest.raises(SchemaTooNew):
            trainer.read("rank0", count=9)
    stats = queue.stats()
    assert (stats.unacked_labels, stats.dead_letters) == (3, 0)
    assert queue.edge.client.hlen(queue.keys.failures) == 0


def test_an_older_labeler_labels_a_newer_label_again_from_its_shard(
    queue: LabelQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit_two_and_a_newer_one(queue)
    queue.raise_epoch()
    with monkeypatch.context() as newer:
        newer.setattr("xpm_stream.label_queue.codec.SCHEMA_VERSION", 2)
        queue.give_back(queue.read("rank0", count=3)[2:], reason="stale")
    lease = queue.take_relabels("labeler", count=1)
    assert lease is not None
    (work,) = lease.work
    assert (work.message, work.shard) == (None, shard("a"))
