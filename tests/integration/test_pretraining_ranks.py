"""Caption pretraining on two ranks under torchrun: joint negatives, and a killed rank that changes nothing."""

from __future__ import annotations

import multiprocessing
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from processes import REPOSITORY, Run
from small_runs import MakeRun

from xpm_stream.config import RunConfig
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.stages.run_folder import RunFolder

RANKS, BATCH, STEPS, CHECKPOINT_EVERY = 2, 3, 12, 3
# The third of four checkpoints is never published; the two that are left after the restart get through.
KILLED_AT, RESUMED_FROM = "checkpoint.before_publish:3", 6
SETTINGS: dict[str, Any] = {
    "grounding": {"window_fractions": [0.5], "equal_are_negatives": True},  # so that chance is 1 / joint batch
    "pretraining": {"steps": STEPS, "batch_images": BATCH, "multimodal_layers": 1, "max_caption_tokens": 16},
    "teacher": {"threads": 1},
    "trainer": {"checkpoint_every_steps": CHECKPOINT_EVERY, "device": "cpu", "precision": "fp32"},
}


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
                    env={**os.environ, "OMP_NUM_THREADS": "1", "XPM_STREAM_CRASH_AT": KILLED_AT},
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
    killed = make_run("killed", data=data, **SETTINGS)
    process = torchrun(killed)
    assert process.wait(120) == 0, (tmp_path / "torchrun.txt").read_text()[-3000:]
    assert "-9" in (tmp_path / "torchrun.txt").read_text()  # torchrun's word on the rank that died

    for name in ("pretrainer", "pretrainer-1"):
        (resumed,) = killed.logged(name, "resumed")
        assert resumed["step"] == RESUMED_FROM
        begun = killed.logged(name, "pretraining step")[0]
        assert begun["step"] == 1
        assert begun["chance"] == pytest.approx(1 / (RANKS * BATCH), abs=1e-3)
        (finished,) = killed.logged(name, "pretraining finished")
        assert finished["step"] == STEPS

    whole = make_run("whole", data=data, **SETTINGS)
    _run_uninterrupted(whole.config)
    ours, theirs = _weights(killed.config), _weights(whole.config)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


def _weights(config: RunConfig) -> dict[str, torch.Tensor]:
    store = CheckpointStore(RunFolder.of(config).pretraining)
    latest = store.latest()
    assert latest is not None
    assert latest.metadata["finished"] is True
    files = store.read(latest.name)
    return {
        f"{file}: {name}": value
        for file in ("model.safetensors", "multimodal.safetensors")
        for name, value in safetensors.torch.load(files[file]).items()
    }


def _run_uninterrupted(config: RunConfig) -> None:
    """Pretrain as ranks that nothing happens to; forked, since they need not be started anew as torchrun's are."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["xpm_stream.stages.pretraining", "xpm_stream.methods.xpm"])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = [context.Process(target=_pretrain_as, args=(number, port, config)) for number in range(RANKS)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    statuses = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    assert statuses == [0] * RANKS


def _pretrain_as(number: int, port: int, config: RunConfig) -> None:
    from xpm_stream.stages.pretraining import run_pretraining

    os.environ.update(RANK=str(number), WORLD_SIZE=str(RANKS), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    run_pretraining(config)
