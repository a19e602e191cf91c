"""Faults of delivery that were found by looking for them; those still open fail for the reason that they give."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from redis_servers import until
from stub_runs import StubRun, make_stub_run

from xpm_stream.label_queue import LabelQueue, ShardRecord, connect, start_or_join
from xpm_stream.records import ShardId
from xpm_stream.registry.promotion_log import PromotionLog

pytestmark = pytest.mark.slow
MakeRun = Callable[..., StubRun]
SOON_S = 20.0  # a run of hundreds of stub samples is over long before


@pytest.fixture
def make_run(tmp_path: Path) -> Iterator[MakeRun]:
    """Make a run with an embedded Redis; `method` is one of hunt_methods, if not the stub."""
    runs: list[StubRun] = []
    servers = []

    def make(*, method: str | None = None, **settings: Any) -> StubRun:
        run = make_stub_run(tmp_path, redis={}, **{"pace_ms": 0, **settings})
        if method is not None:
            run.config = run.config.model_copy(update={"method": f"hunt_methods:{method}"})
        runs.append(run)
        servers.append(start_or_join(run.config.redis, run_folder=run.folder))
        return run

    yield make
    for run in runs:
        run.end()
    for server in servers:
        server.stop()


@pytest.fixture
def open_queue() -> Iterator[Callable[[StubRun], LabelQueue]]:
    queues = []

    def another(run: StubRun) -> LabelQueue:
        queues.append(connect(run.config.redis, run.config.queue, run_folder=run.folder))
        return queues[-1]

    yield another
    for queue in queues:
        queue.close()


def test_relabel_work_that_fills_the_budget_is_done_by_the_labelers_who_wait_for_room(
    make_run: MakeRun, open_queue: Callable[[StubRun], LabelQueue]
) -> None:
    run = make_run(shards=1, samples_per_shard=1000, promotion={"every_steps": 100_000})
    queue = open_queue(run)
    log = PromotionLog(f"{run.folder}/registry")
    run.start("promote")
    until(log.champion, what="the first teacher", within_s=SOON_S)
    run.start("label")
    until(lambda: queue.stats().unacked_labels >= 256, what="a full budget", within_s=SOON_S)
    log.append("promote", by="test", checkpoint="teacher-s0", epoch=0, step=0)
    log.append("revoke", by="test", target=1)
    trainer = run.start("train")
    trainer.join(SOON_S)
    assert trainer.exitcode == 0, queue.stats()


@pytest.mark.xfail(strict=True, reason="leases are renewed by commits only, and a lost lease counts as a dead labeler")
def test_a_teacher_slower_than_the_lease_costs_no_sample(
    make_run: MakeRun, open_queue: Callable[[StubRun], LabelQueue]
) -> None:
    run = make_run(method="Slow", shards=1, samples_per_shard=40, queue={"lease_ttl_s": 1.0})
    queue = open_queue(run)
    run.start("promote")
    run.start("label")
    until(lambda: queue.stats().dead_letters or queue.stats().shards_finished, what="an outcome", within_s=90.0)
    assert queue.stats().dead == {}


class _HangingStore(BaseHTTPRequestHandler):
    """Answers later than the leases of these tests last, and then with an error."""

    def do_GET(self) -> None:
        time.sleep(2.0)
        self.send_error(503)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.xfail(strict=True, reason="its lease is lost before it can fail, and it comes first again")
def test_a_shard_whose_store_hangs_does_not_keep_the_others_waiting(
    make_run: MakeRun, open_queue: Callable[[StubRun], LabelQueue]
) -> None:
    run = make_run(shards=1, samples_per_shard=40, queue={"lease_ttl_s": 1.0})
    queue = open_queue(run)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _HangingStore) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/shard.tar"
        queue.add_shards([ShardRecord(url=url, shard_id=ShardId("hanging"))])  # before the labeler adds the other
        run.start("promote")
        run.start("label")
        try:
            until(lambda: queue.stats().labels_committed, what="labels of the other shard", within_s=SOON_S)
        finally:
            server.shutdown()


class _StoreAway(BaseHTTPRequestHandler):
    """Says that it cannot answer now."""

    def do_GET(self) -> None:
        self.send_error(503)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.xfail(strict=True, reason="a shard fails for good at the first error of its store")
def test_a_store_that_is_away_for_a_moment_fails_no_shard(
    make_run: MakeRun, open_queue: Callable[[StubRun], LabelQueue]
) -> None:
    run = make_run(shards=1, samples_per_shard=40)
    queue = open_queue(run)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _StoreAway) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        queue.add_shards([ShardRecord(url=f"{url}/{name}.tar", shard_id=ShardId(name)) for name in "abcdef"])
        run.start("promote")
        run.start("label")
        try:
            until(lambda: queue.stats().labels_committed, what="labels of the shard that is there", within_s=SOON_S)
        finally:
            server.shutdown()
    assert queue.stats().shards_failed == 0, [row.note for row in queue.shard_rows()]


def test_a_trainer_that_has_done_its_steps_takes_none_when_it_is_started_again(make_run: MakeRun) -> None:
    run = make_run(shards=1, samples_per_shard=400, trainer={"steps": 5})
    run.start("promote")
    run.start("label")
    for _ in range(2):
        trainer = run.start("train")
        trainer.join(60)
        assert trainer.exitcode == 0
    assert [event["step"] for event in run.log("train", "trainer finished")] == [5, 5]


@pytest.mark.xfail(strict=True, reason="MessageError of one label ends the labeler")
def test_a_label_that_cannot_be_written_is_a_dead_letter_and_ends_no_labeler(
    make_run: MakeRun, open_queue: Callable[[StubRun], LabelQueue]
) -> None:
    run = make_run(method="BadScore", shards=1, samples_per_shard=100, queue={"max_unacked_labels": 1000})
    queue = open_queue(run)
    run.start("promote")
    labeler = run.start("label")
    until(lambda: queue.stats().shards_finished or labeler.exitcode is not None, what="an end", within_s=60)
    assert labeler.exitcode is None
    assert queue.stats().dead_letters == 1
