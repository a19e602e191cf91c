"""Faults of delivery that were found by looking for them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis_servers import until
from stub_runs import MakeStubRun, StubRun

from xpm_stream.label_queue import LabelQueue
from xpm_stream.registry.promotion_log import PromotionLog

pytestmark = pytest.mark.slow
SOON_S = 20.0  # a run of hundreds of stub samples is over long before


def test_relabel_work_that_fills_the_budget_is_done_by_the_labelers_who_wait_for_room(
    stub_run: MakeStubRun, queue_of: Callable[[StubRun], LabelQueue]
) -> None:
    run = stub_run(shards=1, samples_per_shard=1000, promotion={"every_steps": 100_000})
    queue = queue_of(run)
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


def test_a_trainer_that_has_done_its_steps_takes_none_when_it_is_started_again(stub_run: MakeStubRun) -> None:
    run = stub_run(shards=1, samples_per_shard=400, trainer={"steps": 5})
    run.start("promote")
    run.start("label")
    for _ in range(2):
        trainer = run.start("train")
        trainer.join(60)
        assert trainer.exitcode == 0
    assert [event["step"] for event in run.log("train", "trainer finished")] == [5, 5]


def test_a_labeler_that_waits_for_room_says_so_in_its_metrics_until_it_has_some(
    stub_run: MakeStubRun, queue_of: Callable[[StubRun], LabelQueue]
) -> None:
    run = stub_run(shards=1, samples_per_shard=400, promotion={"every_steps": 100_000})
    queue = queue_of(run)
    roles = {"promote": run.start("promote"), "label": run.start("label")}
    run.until(lambda: queue.stats().unacked_labels >= 256, what="a full budget")
    run.until(lambda: run.metric("label", "xpm_labeler_waiting_for_capacity") == 1, what="the labeler saying so")
    full = queue.stats()
    assert full.unacked_labels < 256 + 16, "no more than a batch over the budget"
    assert full.labels_committed == full.unacked_labels == queue.edge.client.xlen(queue.keys.labels), "none is trimmed"
    roles["train"] = run.start("train")
    run.until(lambda: run.metric("label", "xpm_labeler_waiting_for_capacity_seconds_total"), what="seconds waited")
    run.finish(roles)
    run.check_each_trained_once()
