"""A seed repeats a teacher."""

from __future__ import annotations

from typing import Any

import pytest
from processes import Run
from small_runs import MakeRun

from xpm_stream.registry.checkpoints import CheckpointStore


def _weights(run: Run) -> str:
    (checkpoint,) = CheckpointStore(f"{run.folder}/registry/checkpoints").list()
    return checkpoint.files["model.safetensors"].sha256


@pytest.mark.slow
def test_the_same_seed_teaches_the_same_teacher_and_another_seed_another(
    make_run: MakeRun, data: dict[str, Any]
) -> None:
    runs = [make_run(f"seed_{index}", data=data, teacher={"threads": 1}) for index in range(3)]
    seeds = ("7", "7", "8")

    started = [run.start("teach", "--set", f"seed={seed}") for run, seed in zip(runs, seeds, strict=True)]
    for teacher in started:
        teacher.succeeds()

    first, again, other = map(_weights, runs)
    assert first == again
    assert first != other
