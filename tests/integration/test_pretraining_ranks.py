"""Caption pretraining on two ranks under torchrun: joint negatives, and a killed rank that changes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import safetensors.torch
import torch
from processes import REPOSITORY, Run, until
from small_runs import MakeRun

from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.stages.run_folder import RunFolder

RANKS, BATCH, STEPS, CHECKPOINT_EVERY = 2, 3, 16, 8
FROZEN_AT = "checkpoint.before_publish:2:stop"  # where rank 0 holds the last checkpoint, and nobody else sees it yet
SETTINGS: dict[str, Any] = {
    "grounding": {"window_fractions": [0.5], "equal_are_negatives": True},  # so that chance is 1 / joint batch
    "pretraining": {"steps": STEPS, "batch_images": BATCH, "multimodal_layers": 1, "max_caption_tokens": 16},
    "teacher": {"threads": 1},
    "trainer": {"checkpoint_every_steps": CHECKPOINT_EVERY, "device": "cpu", "precision": "fp32"},
}
ROLES = ("pretrainer", "pretrainer-1")


@pytest.fixture
def torchrun(tmp_path: Path) -> Iterator[Callable[[Run], subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(run: Run) -> subprocess.Popen[bytes]:
        with (tmp_path / "torchrun.txt").open("wb") as sink:
            started.append(
                subprocess.Popen(
                    [
                        *(sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={RANKS}"),
                        *("--max-restarts=1", "--monitor-interval=0.2", "workers/pretrainer.py", str(run.config_path)),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=subprocess.STDOUT,
                    cwd=REPOSITORY,
                    env={**os.environ, "OMP_NUM_THREADS": "1", "XPM_STREAM_CRASH_AT": FROZEN_AT},
                )
            )
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()  # torchrun takes its ranks along
            process.wait()


@pytest.mark.slow
def test_two_ranks_match_jointly_and_a_killed_rank_changes_nothing(
    make_run: MakeRun,
    data: dict[str, Any],
    torchrun: Callable[[Run], subprocess.Popen[bytes]],
    tmp_path: Path,
) -> None:
    run = make_run("ranks", data=data, **SETTINGS)
    process = torchrun(run)
    frozen = until(lambda: _frozen(process), what="rank 0 at its last checkpoint")
    folder = Path(RunFolder.of(run.config).pretraining)
    published = {path.parent for path in folder.glob("pretraining-s*/model.safetensors")}
    (unpublished,) = {path.parent for path in folder.rglob("model.safetensors")} - published
    uninterrupted = _weights({path.name: path.read_bytes() for path in unpublished.iterdir()})
    frozen.kill()
    assert process.wait(120) == 0, (tmp_path / "torchrun.txt").read_text()[-3000:]

    for role in ROLES:
        begun = run.logged(role, "pretraining step")[0]
        assert begun["step"] == 1
        assert begun["chance"] == pytest.approx(1 / (RANKS * BATCH), abs=1e-3)
        (resumed,) = run.logged(role, "resumed")
        assert resumed["step"] == CHECKPOINT_EVERY
        (finished,) = run.logged(role, "pretraining finished")  # once: rank 1 did not say so with rank 0 still writing
        assert finished["step"] == STEPS
    store = CheckpointStore(folder)
    latest = store.latest()
    assert latest is not None
    assert latest.metadata["finished"] is True
    resumed_weights = _weights(store.read(latest.name))
    assert resumed_weights.keys() == uninterrupted.keys()
    for name, value in resumed_weights.items():
        assert torch.equal(value, uninterrupted[name]), name


def _frozen(torchrun: subprocess.Popen[bytes]) -> psutil.Process | None:
    assert torchrun.poll() is None, "torchrun has ended"
    for child in psutil.Process(torchrun.pid).children(recursive=True):
        if child.status() == psutil.STATUS_STOPPED:
            return child
    return None


def _weights(files: dict[str, bytes]) -> dict[str, torch.Tensor]:
    return {
        f"{file}: {name}": value
        for file in ("model.safetensors", "multimodal.safetensors", "optimiser.safetensors")
        for name, value in safetensors.torch.load(files[file]).items()
    }
