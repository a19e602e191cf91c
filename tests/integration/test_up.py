"""`xpm-stream up` on a synthetic corpus: interrupted, resumed, finished, and started once more."""

from __future__ import annotations

import signal
from pathlib import Path

import psutil
import pytest
from PIL import Image
from processes import Run, check_account, check_finished, until
from small_runs import CAPTION_IMAGES, SYNTHETIC, MakeRun

from xpm_stream.monitoring.drift_store import DriftStore
from xpm_stream.monitoring.summary import FINAL_STUDENT, FIRST_TEACHER, read_summary
from xpm_stream.registry.promotion_log import PromotionLog
from xpm_stream.registry.store import open_store

PASSES = 3
STAGES = {"prepare", "teacher", "stream", "evaluate", "pictures", "audit"}


@pytest.fixture(scope="module")
def run(make_run: MakeRun) -> Run:
    return make_run(
        "up",
        prepare={"synthetic": SYNTHETIC},
        data={"passes": PASSES},
        teacher={"steps": 4, "batch_images": 2},
        labeler={"workers": 2},
        trainer={"checkpoint_every_steps": 1},
        drift={"poll_s": 0.05},
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_interrupted_run_stops_cleanly_and_the_same_command_finishes_it(run: Run) -> None:
    up = run.start("up")
    until(lambda: run.logged("teacher", "teacher step"), what="the teacher's first step")
    second = run.start("up")  # meanwhile
    assert "another `xpm-stream up` is at work" in second.fails()
    _stops_cleanly(run, signal.SIGTERM)

    up = run.start("up")
    until(lambda: run.logged("trainer", "checkpoint"), what="the first checkpoint")
    _stops_cleanly(run, signal.SIGINT)
    account = run.account()
    check_account(account)
    assert 0 < account.training.samples_trained < PASSES * CAPTION_IMAGES, "it was not stopped in mid-stream"

    up = run.start("up")
    until(lambda: _monitors(run), what="the drift monitor")
    _monitors(run)[0].kill()
    assert "monitor was killed by SIGKILL" in up.fails(), "nobody would watch for drift, or put on the brake"
    assert not run.processes()

    up = run.start("up")
    said = up.succeeds()
    assert "Held-out AP50" in said
    assert "xpm-stream audit" in said
    assert not run.processes()
    totals = check_finished(run.account(), samples=PASSES * CAPTION_IMAGES).totals()
    assert totals["trained"] > 0
    assert totals["dead"] == 0
    _check_outcome(run)


def _monitors(run: Run) -> list[psutil.Process]:
    return [process for process in run.processes() if "watch" in process.cmdline()]


def _stops_cleanly(run: Run, number: signal.Signals) -> None:
    up = run.started[0] if len(run.started) == 2 else run.started[-1]
    assert up.stop(number) == 130, up.said
    assert "nothing is lost" in up.said
    assert f"xpm-stream up {run.folder}/config.yaml" in up.said
    assert "Traceback" not in up.said
    assert [process.cmdline() for process in run.processes()] == []


def _check_outcome(run: Run) -> None:
    summary = read_summary(run.folder / "summary.json")
    assert set(summary.models) == {FIRST_TEACHER, FINAL_STUDENT}
    for scores in summary.models.values():
        assert set(scores.constrained) == {"base", "target"}
        assert set(scores.generalized) == {"base", "target", "all"}
        assert scores.num_images == 4
        assert scores.promotion is not None
    assert summary.models[FINAL_STUDENT].step == run.account().training.step
    promoted = [entry for entry in summary.promotions if entry.action == "promote"]
    assert len(promoted) >= 3  # the first teacher, and two students
    assert promoted == sorted(promoted, key=lambda entry: entry.number)
    assert sum(entry.labels or 0 for entry in promoted) == summary.samples.trained
    assert set(summary.seconds) == STAGES
    assert summary.samples.read == PASSES * CAPTION_IMAGES
    assert summary.samples.unaccounted == 0
    assert summary.samples.queued == 0
    assert summary.samples.skipped.keys() <= {"no_nouns"}
    assert summary.samples.trained + sum(summary.samples.skipped.values()) == PASSES * CAPTION_IMAGES
    newest = DriftStore(open_store(run.folder / "registry")).newest_window()
    assert newest is not None, "the drift monitor closes its window when it is stopped"
    assert newest.labels_seen + newest.labels_missed >= summary.samples.trained
    assert newest.labels_seen > 0
    with Image.open(run.folder / "pictures" / "pseudo_labels.png") as picture:
        assert min(picture.size) > 100


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_finished_run_started_again_trains_and_promotes_nothing_more(run: Run) -> None:
    assert (run.folder / "summary.json").exists(), "needs the finished run of the test above"
    before, entries = run.account(), PromotionLog(run.folder / "registry").entries()
    run.start("up", "--set", "evaluation.max_images=1").succeeds()
    after = run.account()
    assert after.training.samples_trained == before.training.samples_trained
    assert after.training.step == before.training.step
    assert PromotionLog(run.folder / "registry").entries() == entries
    check_finished(after, samples=PASSES * CAPTION_IMAGES)
    assert not run.processes()


@pytest.mark.slow
def test_the_audit_command_says_that_everything_adds_up(run: Run) -> None:
    said = run.start("audit", str(run.folder)).succeeds()
    assert "everything adds up" in said
    assert str(PASSES * CAPTION_IMAGES) in said
    assert not run.processes()


@pytest.mark.slow
def test_no_password_is_in_anything_a_run_wrote(run: Run) -> None:
    endpoint_free = [path for path in run.folder.rglob("*") if path.suffix in (".jsonl", ".out", ".json", ".yaml")]
    config = Path(run.folder / "redis" / "redis.conf").read_text()
    password = next(line.split()[1] for line in config.splitlines() if line.startswith("requirepass"))
    for path in endpoint_free:
        if "redis" not in path.parts:
            assert password not in path.read_text(errors="replace"), path
