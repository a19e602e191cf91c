"""One student on several ranks under torchrun: killed ranks, another number of ranks, and every sample once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from processes import REPOSITORY, Run, check_finished, until

from benchmarks.stub.corpus import propose_stub_teacher, write_stub_corpus
from benchmarks.stub.counting import COUNTING_OPTIMISER, METHOD, SAMPLES_VARIABLE, times_trained
from xpm_stream.config import save_resolved
from xpm_stream.config.loading import parse_config
from xpm_stream.label_queue import start_or_join
from xpm_stream.registry.checkpoints import CheckpointStore

SHARDS, SAMPLES_PER_SHARD = 6, 200
SAMPLES = SHARDS * SAMPLES_PER_SHARD
SETTINGS: dict[str, Any] = {
    "method": METHOD,
    "optimiser": COUNTING_OPTIMISER,
    "redis": {"retry_for_s": 30.0},
    "queue": {"lease_ttl_s": 5.0, "max_unacked_labels": 128},
    "labeler": {"batch_images": 8, "threads": 1, "teacher_poll_s": 0.2},
    "trainer": {"batch_captions": 4, "batch_base": 0, "checkpoint_every_steps": 7, "max_teacher_lag": 1, "threads": 1},
    "promotion": {"every_steps": 40, "poll_s": 0.2},
    "metrics": {"port": 0},
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    monkeypatch.setenv(SAMPLES_VARIABLE, str(SAMPLES))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    return dict(os.environ)


@pytest.fixture
def run(tmp_path: Path, environment: Mapping[str, str]) -> Iterator[Run]:
    usable = write_stub_corpus(tmp_path / "corpus", shards=SHARDS, samples_per_shard=SAMPLES_PER_SHARD)
    assert usable == list(range(SAMPLES))
    folder = tmp_path / "run"
    tree = {**SETTINGS, "folder": str(folder), "data": {"shards": [f"{tmp_path}/corpus/*.tar"]}}
    config = parse_config(tree, source="test")
    save_resolved(config, folder)
    propose_stub_teacher(config)
    made = Run(folder, folder / "config.yaml")
    with start_or_join(config.redis, run_folder=folder):
        yield made
    made.end()


@pytest.fixture
def torchrun(run: Run) -> Iterator[Callable[..., Torchrun]]:
    started: list[Torchrun] = []

    def start(*, ranks: int, restarts: int = 0) -> Torchrun:
        started.append(Torchrun(run, ranks=ranks, restarts=restarts))
        return started[-1]

    yield start
    for trainer in started:
        trainer.end()


class Torchrun:
    """A trainer of several ranks, as a user starts it."""

    def __init__(self, run: Run, *, ranks: int, restarts: int = 0) -> None:
        self.output = run.folder.parent / f"torchrun-{ranks}.txt"
        self._run = run
        with self.output.open("wb") as sink:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"),
                    *(
                        f"--max-restarts={restarts}",
                        "--monitor-interval=0.2",
                        "workers/trainer.py",
                        str(run.config_path),
                    ),
                ],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                cwd=REPOSITORY,
            )

    def end(self) -> None:
        """Kill what a failed test left: torchrun takes its ranks along."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()

    def rank(self, number: int) -> psutil.Process:
        """Return the process of a rank once it trains."""
        for child in psutil.Process(self.process.pid).children(recursive=True):
            if child.environ().get("RANK") == str(number):
                return child
        raise AssertionError(f"no rank {number}")

    def wait(self) -> int:
        try:
            return self.process.wait(180)
        except subprocess.TimeoutExpired as error:
            self.process.kill()
            raise AssertionError(self.output.read_text()[-3000:]) from error


def _counts(run: Run) -> np.ndarray:
    store = CheckpointStore(f"{run.folder}/registry/resume")
    latest = store.latest()
    return np.zeros(SAMPLES, dtype=np.int64) if latest is None else times_trained(store.read(latest.name))


def _trained(run: Run) -> int:
    return int(_counts(run).sum())


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_two_ranks_then_three_then_one_train_every_sample_once_though_a_rank_is_killed(
    run: Run, torchrun: Callable[..., Torchrun]
) -> None:
    promoter, labeler = run.start("promote"), run.start("label")

    # torchrun starts both ranks again when one is killed.
    two = torchrun(ranks=2, restarts=1)
    until(lambda: _trained(run) > 50, what="two ranks training")
    two.rank(1).kill()
    started_again = until(lambda: _starts(run, ranks=2)[1:], what="the ranks being started again")
    until(lambda: _trained(run) > started_again[0]["trained"] + 50, what="two ranks training again")
    two.process.send_signal(signal.SIGTERM)
    two.wait()
    assert _counts(run).max() == 1
    after_two = _trained(run)
    assert after_two < SAMPLES

    three = torchrun(ranks=3)
    until(lambda: _trained(run) > after_two + 50, what="three ranks training")
    three.rank(2).send_signal(signal.SIGTERM)  # one rank told to stop stops all, with a checkpoint
    assert three.wait() == 0, three.output.read_text()[-3000:]
    after_three = _trained(run)
    assert after_two < after_three < SAMPLES

    run.start("train").succeeds()
    labeler.succeeds()
    assert promoter.stop() == 0

    counts = _counts(run)
    assert (counts == 1).all(), (np.flatnonzero(counts != 1), counts.max())
    check_finished(run.account(), samples=SAMPLES)
    assert {event["ranks"] for event in run.logged("trainer", "trainer started")} == {1, 2, 3}
    for rank in ("trainer-1", "trainer-2"):  # they took part, and acknowledged labels of their own
        assert sum(event["acknowledged"] for event in run.logged(rank, "checkpoint")) > 0
    epochs = [event["epoch"] for event in run.logged("trainer", "trainer started")]
    assert epochs == sorted(set(epochs))


def _starts(run: Run, *, ranks: int) -> list[dict[str, Any]]:
    return [event for event in run.logged("trainer", "trainer started") if event["ranks"] == ranks]
