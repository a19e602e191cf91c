"""Faults of delivery that were found by looking for them; those still open fail for the reason that they give."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis_servers import until
from stub_runs import StubRun, make_stub_run

from xpm_stream.label_queue import LabelQueue, connect, start_or_join
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


def test_a_trainer_that_has_done_its_steps_takes_none_when_it_is_started_again(make_run: MakeRun) -> None:
    run = make_run(shards=1, samples_per_shard=400, trainer={"steps": 5})
    run.start("promote")
    run.start("label")
    for _ in range(2):
        trainer = run.start("train")
        trainer.join(60)
        assert trainer.exitcode == 0
    assert [event["step"] for event in run.log("train", "trainer finished")] == [5, 5]
