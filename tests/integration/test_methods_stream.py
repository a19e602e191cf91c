"""A method other than XPM through the whole loop: real labelers, trainer, promoter and Redis."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from processes import check_finished
from small_runs import CAPTION_IMAGES, MakeRun

from xpm_stream.registry.promotion_log import PromotionLog

# What an untrained teacher is sure of is little: so low that labels hold instances, proposals, and reliability.
SETTINGS = [
    "method=soft_teacher",
    "soft_teacher.score_threshold=0.1",
    "soft_teacher.box_score_threshold=0.05",
    "soft_teacher.max_instances=5",
    "soft_teacher.max_box_deviation=1.0",
    "optimiser.ema_decay=0.999",
    "promotion.candidate=ema",
]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_soft_teacher_streams_trains_and_promotes_its_average(
    make_run: MakeRun, data: dict[str, Any], untrained_teacher: str
) -> None:
    run = make_run("soft", data={**data, "val": None}, teacher={"checkpoint": untrained_teacher})
    run.start("up", *(part for setting in SETTINGS for part in ("--set", setting))).succeeds()
    assert not run.processes()
    totals = check_finished(run.account(), samples=CAPTION_IMAGES).totals()
    assert totals["dead"] == 0
    assert totals["trained"] > 0
    losses = [event for event in run.logged("trainer", "step") if "pseudo_classification" in event]
    assert losses
    assert any(event["pseudo_box"] > 0 and event["pseudo_mask"] > 0 for event in losses)
    promoted = [entry for entry in PromotionLog(run.folder / "registry").entries() if entry.action == "promote"]
    assert len(promoted) >= 3
    folders = [run.folder / "registry" / "checkpoints" / entry.checkpoint for entry in promoted if entry.checkpoint]
    assert json.loads((folders[-1] / "config.json").read_text())["method"] == "soft_teacher"
    _check_average(folders[0], folders[1], run.folder / "registry" / "resume")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_trained_images_come_back_beside_new_ones_through_the_whole_loop(
    make_run: MakeRun, data: dict[str, Any], untrained_teacher: str
) -> None:
    run = make_run(
        "replay",
        data={**data, "val": None},
        teacher={"checkpoint": untrained_teacher},
        trainer={"replay_images": 3, "checkpoint_every_steps": 2},
    )
    run.start("up").succeeds()
    assert check_finished(run.account(), samples=CAPTION_IMAGES).totals()["dead"] == 0
    samples = json.loads((run.folder / "summary.json").read_text())["samples"]
    assert samples["replayed"] >= 3 * 6, "three a step, but for the first, prepared before anything was trained"
    last = PromotionLog(run.folder / "registry").candidates()[-1].checkpoint
    card = (run.folder / "registry" / "checkpoints" / last / "README.md").read_text()
    assert f"{samples['replayed']}" in next(line for line in card.splitlines() if "samples replayed" in line)
    teachers = [event["teacher"] for event in run.logged("trainer", "teacher loaded")]
    assert teachers[0] == "v1"
    assert len(teachers) > 1, "the replayed were labelled by newer teachers as they came"


def _check_average(first: Path, second: Path, resume: Path) -> None:
    """The promoted average, which begins after the first step, has hardly gone on from there; the student has."""
    student = safetensors.numpy.load_file(sorted(resume.glob("*/model.safetensors"))[-1])
    before, average = (safetensors.numpy.load_file(folder / "model.safetensors") for folder in (first, second))
    name = "embedding_head.hidden2.weight"
    moved = float(np.abs(average[name] - before[name]).max())
    assert 0 < moved < 0.25 * float(np.abs(student[name] - before[name]).max())
