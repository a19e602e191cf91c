"""The commands of methods without a labeler, and of pretraining, in real processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from processes import until
from small_runs import MakeRun

from xpm_stream.methods import WITHOUT_LABELER

TEACHER = {"steps": 1, "batch_images": 2, "init": "pretraining"}
PRETRAINING = {"pretraining": {"steps": 2, "batch_images": 4}}


@pytest.mark.parametrize(
    ("name", "command"), [*((name, "up") for name in sorted(WITHOUT_LABELER)), ("ovr", "label"), ("ovr", "train")]
)
def test_a_method_without_a_labeler_says_what_to_run_instead(
    make_run: MakeRun, data: dict[str, Any], name: str, command: str
) -> None:
    run = make_run(f"{name}-{command}", data=data)
    said = run.start(command, "--set", f"method={name}").fails()
    assert f"method '{name}' has no labeler" in said
    assert "xpm-stream pretrain" in said
    assert not run.processes()


@pytest.mark.slow
def test_ovr_is_pretrained_taught_and_judged_by_one_configuration(
    make_run: MakeRun, data: dict[str, Any], tmp_path: Path
) -> None:
    run = make_run("ovr", data=data, teacher=TEACHER, **PRETRAINING)
    ovr = ("--set", "method=ovr")
    assert "xpm-stream pretrain" in run.start("teach", *ovr).fails()
    run.start("pretrain", *ovr).succeeds()
    run.start("teach", *ovr).succeeds()
    (event,) = run.logged("teacher", "teacher proposed")
    checkpoint = run.folder / "registry" / "checkpoints" / event["checkpoint"]
    scores = tmp_path / "scores.json"
    run.start("evaluate", str(checkpoint), "--run", str(run.folder), "--json", str(scores)).succeeds()
    assert json.loads(scores.read_text())


@pytest.mark.slow
def test_up_pretrains_first_where_the_teacher_starts_from_it(make_run: MakeRun, data: dict[str, Any]) -> None:
    run = make_run("up", data=data, teacher=TEACHER, **PRETRAINING)
    up = run.start("up")
    (began,) = until(lambda: run.logged("teacher", "begun"), what="the teacher beginning")
    assert began["start"] == "pretraining-s00000002"
    assert run.logged("pretrainer", "pretraining finished")
    up.stop()
