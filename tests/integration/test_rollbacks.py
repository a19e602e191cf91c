"""A person rolls back or revokes a teacher while real roles work."""

from __future__ import annotations

import time

import pytest
from stub_runs import MakeStubRun, StubRun

from xpm_stream.label_queue import connect, decode
from xpm_stream.registry.promotion_log import PromotionLog
from xpm_stream.stages.deciding import Desk
from xpm_stream.stages.run_folder import RunFolder

POLL_S = 1.0
LOADING_S = 10.0  # what a labeler of a loaded machine may take from its poll to the loaded teacher


def log_of(run: StubRun) -> PromotionLog:
    return PromotionLog(RunFolder.of(run.config).registry_url(run.config))


def labels_of(run: StubRun, promotion: int) -> int:
    """Labels on the stream that a teacher wrote."""
    with connect(run.config.redis, run.config.queue, run_folder=run.folder) as queue:
        entries = queue.edge.client.xrange(queue.keys.labels)
    return sum(decode(fields[b"m"]).teacher.promotion == promotion for _, fields in entries)


@pytest.mark.timeout(300)
def test_a_rollback_reaches_a_labeler_within_one_poll(stub_run: MakeStubRun) -> None:
    run = stub_run(pace_ms=60, labeler={"teacher_poll_s": POLL_S})
    roles = run.start_all()
    run.until(lambda: len(log_of(run).entries()) >= 3, what="two promotions after the first teacher")
    run.until(lambda: run.log("label", "teacher loaded"), what="a loaded teacher")
    asked = time.time()
    entry = Desk(run.config).roll_back(1, because=["a test"])

    def loaded() -> list[dict[str, object]]:
        return [one for one in run.log("label", "teacher loaded") if one["teacher"] == f"v{entry.number}"]

    run.until(loaded, what="the labeler going back")
    assert time.time() - asked < POLL_S + LOADING_S
    run.finish(roles)
    run.check_each_trained_once()


@pytest.mark.timeout(300)
def test_queued_labels_of_a_revoked_teacher_are_made_again_and_each_sample_is_trained_once(
    stub_run: MakeStubRun,
) -> None:
    run = stub_run(pace_ms=40, labeler={"teacher_poll_s": 0.2})
    roles = run.start_all()
    run.until(lambda: len(log_of(run).entries()) >= 2, what="a second teacher")
    second = log_of(run).entries()[1].number
    trainer = roles["train"]
    run.until(lambda: labels_of(run, second), what="labels of the second teacher in the queue")
    trainer.terminate()
    trainer.join(60)
    assert trainer.exitcode == 0, run.said()
    champion = log_of(run).champion()
    assert champion is not None
    waiting = labels_of(run, champion.number)
    Desk(run.config).revoke(champion.number, because=["a test"])
    roles["train"] = run.start("train")
    run.finish(roles)
    run.check_each_trained_once()
    with connect(run.config.redis, run.config.queue, run_folder=run.folder) as queue:
        stats = queue.stats()
    assert waiting > 0
    assert stats.labels_committed >= len(run.usable) + waiting, "each of them was labelled again"
