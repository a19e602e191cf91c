"""Teachers that are slow or give nonsense, and stores that hang or are away: no sample is lost by them."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from redis_servers import until
from stub_runs import MakeStubRun, StubRun

from xpm_stream.label_queue import CommitBatch, Cursor, LabelQueue, Reject, ShardRecord, TrainedLedger
from xpm_stream.records import ShardId
from xpm_stream.stages.shard_registration import add_shards
from xpm_stream.stages.watchdog import EXIT_STALLED

pytestmark = pytest.mark.slow
QueueOf = Callable[[StubRun], LabelQueue]


class _BadStore(BaseHTTPRequestHandler):
    """Says that it cannot answer now."""

    after_s = 0.0

    def do_GET(self) -> None:
        time.sleep(self.after_s)
        self.send_error(503)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


class _SlowStore(_BadStore):
    """Says so when the leases of these tests would be over."""

    after_s = 2.0


class _DeadStore(_BadStore):
    """Never answers."""

    after_s = 3600.0


@contextmanager
def _web_server(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


def test_a_teacher_slower_than_the_lease_costs_no_sample(stub_run: MakeStubRun, queue_of: QueueOf) -> None:
    run = stub_run(method="Slow", shards=1, samples_per_shard=40, queue={"lease_ttl_s": 1.0})
    queue = queue_of(run)
    run.start("promote")
    run.start("label")
    run.until(lambda: queue.stats().dead_letters or queue.stats().shards_finished, what="an outcome")
    assert queue.stats().dead == {}
    assert queue.stats().lease_expiries == 0


def test_a_teacher_slower_than_the_lease_costs_no_sample_to_be_relabelled(
    stub_run: MakeStubRun, queue_of: QueueOf
) -> None:
    run = stub_run(method="Slow", shards=1, samples_per_shard=40, queue={"lease_ttl_s": 1.0})
    queue = queue_of(run)
    run.start("promote")
    run.start("label")
    run.until(lambda: queue.stats().shards_finished, what="labels")
    queue.raise_epoch()
    sent_back = queue.give_back(queue.read("r", count=20), reason="stale").moved
    committed = queue.stats().labels_committed
    run.until(lambda: queue.stats().labels_committed == committed + sent_back, what="the labels made again")
    assert queue.stats().relabels == 0
    assert run.log("label", "relabel lease lost: the batch is dropped") == []


def test_a_shard_whose_store_hangs_does_not_keep_the_others_waiting(stub_run: MakeStubRun, queue_of: QueueOf) -> None:
    run = stub_run(shards=1, samples_per_shard=40, queue={"lease_ttl_s": 1.0})
    queue = queue_of(run)
    with _web_server(_SlowStore) as store:
        queue.add_shards([ShardRecord(url=f"{store}/shard.tar", shard_id=ShardId("hanging"))])  # before the other
        run.start("promote")
        run.start("label")
        run.until(lambda: queue.stats().labels_committed, what="labels of the other shard")
    assert queue.stats().lease_expiries == 0


def test_a_store_that_is_away_for_a_moment_fails_no_shard(stub_run: MakeStubRun, queue_of: QueueOf) -> None:
    run = stub_run(shards=1, samples_per_shard=40)
    queue = queue_of(run)
    with _web_server(_BadStore) as store:
        queue.add_shards([ShardRecord(url=f"{store}/{name}.tar", shard_id=ShardId(name)) for name in "abcdef"])
        run.start("promote")
        run.start("label")
        run.until(lambda: queue.stats().labels_committed, what="labels of the shard that is there")
    notes = [row.note or "" for row in queue.shard_rows() if row.url.startswith("http")]
    assert queue.stats().shards_failed == 0, notes
    assert all("503" in note for note in notes), "`shards list` says why they wait"


def test_a_shard_whose_store_stays_away_has_failed_in_the_end(stub_run: MakeStubRun, queue_of: QueueOf) -> None:
    run = stub_run(shards=1, samples_per_shard=40, queue={"store_patience_s": 2.0})
    queue = queue_of(run)
    with _web_server(_BadStore) as store:
        queue.add_shards([ShardRecord(url=f"{store}/a.tar", shard_id=ShardId("a"))])
        run.start("promote")
        run.start("label")
        run.until(lambda: queue.stats().shards_failed, what="the failure")
    (put_off, again) = run.log("label", "shard put off")
    assert put_off["url"] == again["url"]
    (failed,) = [row for row in queue.shard_rows() if row.state == "failed"]
    assert "503" in (failed.note or "")


def test_a_label_that_cannot_be_written_is_a_dead_letter_and_ends_no_labeler(
    stub_run: MakeStubRun, queue_of: QueueOf
) -> None:
    run = stub_run(method="BadScore", shards=1, samples_per_shard=100, queue={"max_unacked_labels": 1000})
    queue = queue_of(run)
    run.start("promote")
    labeler = run.start("label")
    until(lambda: queue.stats().shards_finished or labeler.exitcode is not None, what="an end", within_s=60)
    assert labeler.exitcode is None
    (letter,) = queue.dead_letters()
    assert (letter.reason, letter.sample and letter.sample.ordinal, letter.side) == ("label_invalid", 20, "labeler")
    assert "score" in letter.detail
    assert letter.place.rpartition("@")[2].isdigit()
    assert queue.stats().labels_committed == 89


def test_a_shard_whose_store_never_answers_costs_the_others_two_stalls_and_fails_in_the_end(
    stub_run: MakeStubRun, queue_of: QueueOf
) -> None:
    run = stub_run(
        shards=1,
        samples_per_shard=40,
        queue={"lease_ttl_s": 1.0, "max_attempts": 1},
        trainer={"stall_timeout_s": 3.0},
    )
    queue = queue_of(run)
    run.start("promote")
    stalls = stalls_before_labels = 0
    with _web_server(_DeadStore) as store:
        queue.add_shards([ShardRecord(url=f"{store}/shard.tar", shard_id=ShardId("dead"))])  # before the other
        while not queue.stats().shards_failed:
            labeler = run.start("label")
            until(lambda: labeler.exitcode is not None or queue.stats().shards_failed, what="an end")  # noqa: B023
            if labeler.exitcode is not None:
                assert labeler.exitcode == EXIT_STALLED, run.said()
                stalls += 1
                stalls_before_labels += not queue.stats().labels_committed
    assert stalls_before_labels <= 2, "the first may be its labeler's fault; after the second others come first"
    assert stalls == 4
    (failed,) = [row for row in queue.shard_rows() if row.state == "failed"]
    assert "died or hung" in (failed.note or "")
    assert queue.stats().shards_finished == 1


def test_a_replayed_sample_without_nouns_is_skipped(stub_run: MakeStubRun, queue_of: QueueOf) -> None:
    run = stub_run(shards=1, samples_per_shard=10)  # the last has none
    queue = queue_of(run)
    add_shards(run.config, run.config.data.shards)
    lease = queue.acquire("test")
    assert lease is not None
    rejects = [Reject(ordinal=ordinal, reason="image_broken") for ordinal in range(10)]
    end = Path(lease.shard.url.removeprefix("file://")).stat().st_size
    queue.commit(lease, CommitBatch(cursor=Cursor(10, end), rejects=rejects, finished=True))
    assert queue.replay(list(queue.dead_letters())).to_relabel == 10
    run.start("promote")
    run.start("label")
    run.until(lambda: not queue.stats().relabels, what="labels")
    stats = queue.stats()
    assert (stats.labels_committed, stats.skipped, stats.dead_letters) == (9, {"no_nouns": 1}, 0)
    (row,) = queue.audit(TrainedLedger()).rows
    assert row.ok
    assert (row.queued, row.skipped_by_reason, row.dead_by_reason) == (9, {"no_nouns": 1}, {})
