"""Roles killed at every named point, and a full disk: nothing is lost, and nothing is trained twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from processes import Run, check_account, check_finished
from small_runs import CAPTION_IMAGES, MakeRun

from xpm_stream.crash_points import CRASH_POINTS
from xpm_stream.label_queue import start_or_join
from xpm_stream.registry.promotion_log import PromotionLog

LABELER_CRASHES = ("labeler.after_lease", "labeler.after_label:2", "labeler.after_commit:2")
# In the order in which a trainer that goes on each time from its last checkpoint can reach them.
TRAINER_CRASHES = (
    "trainer.after_step",
    "trainer.before_checkpoint",
    "trainer.after_checkpoint_before_ack",
    "trainer.after_ack",
    "trainer.after_candidate_before_proposal",
    "trainer.after_proposal",
)
PROMOTER_CRASHES = ("promoter.before_log", "promoter.after_log")
SMALL_FILES_ONLY = ("bash", "-c", 'ulimit -f 1024; exec "$@"', "--")  # KiB; a checkpoint's weights are larger


@pytest.fixture(scope="module")
def run(make_run: MakeRun, data: dict[str, Any], untrained_teacher: str) -> Iterator[Run]:
    made = make_run("crashes", data=data, teacher={"checkpoint": untrained_teacher}, trainer={"keep_checkpoints": 9})
    with start_or_join(made.config.redis, run_folder=made.folder):
        yield made


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_roles_killed_at_every_named_point_and_a_full_disk_lose_nothing(run: Run) -> None:
    assert {p.partition(":")[0] for p in (*LABELER_CRASHES, *TRAINER_CRASHES, *PROMOTER_CRASHES)} <= CRASH_POINTS

    teacher = run.start("teach")
    promoters = [run.start("promote", crash_at=PROMOTER_CRASHES[0])]
    labelers = [run.start("label", crash_at=LABELER_CRASHES[0])]
    teacher.succeeds()
    promoters[-1].dies()  # its decision is not in the log, so the next promoter takes it
    promoters.append(run.start("promote", crash_at=PROMOTER_CRASHES[1]))
    promoters[-1].dies()  # its decision is in the log, so the next one must not take it again
    promoter = run.start("promote")

    labelers[-1].dies()
    for point in LABELER_CRASHES[1:]:
        labelers.append(run.start("label", crash_at=point))
        labelers[-1].dies()
        check_account(run.account())
    labeler = run.start("label")

    for point in TRAINER_CRASHES:
        run.start("train", crash_at=point).dies()
        check_account(run.account())

    error = run.start("train", prefix=SMALL_FILES_ONLY).fails()
    assert "the disk is full or the quota is reached" in error
    assert "registry.url" in error
    check_account(run.account())

    run.start("train").succeeds()
    labeler.succeeds()
    assert promoter.stop() == 0
    audit = check_finished(run.account(), samples=CAPTION_IMAGES)
    assert audit.totals()["dead"] == 0
    _check_promotions(run)


def _check_promotions(run: Run) -> None:
    log = PromotionLog(run.folder / "registry")
    entries, candidates = log.entries(), log.candidates()
    assert [entry.candidate for entry in entries] == [candidate.number for candidate in candidates]
    assert all(entry.action == "promote" for entry in entries)
    assert len({(candidate.epoch, candidate.step) for candidate in candidates}) == len(candidates) >= 3
