"""Runs of real role processes on the counting stub: started in milliseconds, proved by the weights they leave."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
from processes import check_finished
from redis_servers import until

from benchmarks.stub import corpus, counting
from xpm_stream.config import RunConfig
from xpm_stream.config.loading import parse_config
from xpm_stream.label_queue import AuditReport, connect
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.stages.run_account import account_of, last_training_state
from xpm_stream.stages.run_folder import RunFolder

PATIENCE_S = 150.0
ROLES = ("promote", "label", "train")
_KINDS = {"promote": "promoter", "label": "labeler", "train": "trainer", "watch": "monitor"}
_LOG_NAMES = {"promote": "promoter", "label": "labeler-0", "train": "trainer", "watch": "monitor"}
_CONTEXT = multiprocessing.get_context("forkserver")
# torch is imported once, by the server that every role is forked from.
_CONTEXT.set_forkserver_preload(
    [
        "xpm_stream.stages.labeling",
        "xpm_stream.stages.training",
        "xpm_stream.stages.promotion",
        "xpm_stream.stages.drift_watch",
        counting.__name__,
    ]
)


def run_role(kind: str, config: RunConfig, output: str, environment: dict[str, str]) -> None:
    """What the process of a role runs."""
    os.environ.update(environment)
    sink = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    from xpm_stream.stages import drift_watch, labeling, promotion, training

    roles: dict[str, Callable[[RunConfig], None]] = {
        "label": labeling.run_labeler,
        "train": training.run_trainer,
        "promote": promotion.run_promoter,
        "watch": drift_watch.run_monitor,
    }
    roles[kind](config)
    sys.stdout.flush()


@dataclass
class StubRun:
    """One run folder, its corpus, and the roles that work on it."""

    config: RunConfig
    usable: list[int]  # numbers of the samples that can be trained
    samples: int
    environment: dict[str, str]
    processes: list[ForkServerProcess] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return Path(self.config.folder)

    def start(self, kind: str, *, redis_url: str | None = None) -> ForkServerProcess:
        """Start a role, on its own URL where one is given."""
        output = self.folder.parent / f"{len(self.processes):02d}-{kind}.txt"
        process = _CONTEXT.Process(
            target=run_role, args=(kind, self.config_of(redis_url), str(output), self.environment), daemon=True
        )
        process.start()
        self.processes.append(process)
        return process

    def start_all(self) -> dict[str, ForkServerProcess]:
        return {kind: self.start(kind) for kind in ROLES}

    def log(self, kind: str, message: str) -> list[dict[str, Any]]:
        """What a role logged under this message."""
        names = (f"{_LOG_NAMES[kind]}.jsonl", f"{_LOG_NAMES[kind]}.*.jsonl")  # the second of two at once
        paths = [path for name in names for path in self.folder.glob(f"logs/{name}")]
        lines = [line for path in paths for line in path.read_text().splitlines()]
        return [event for line in lines if line and (event := json.loads(line))["message"] == message]

    def waits(self, kind: str) -> list[str]:
        """The errors over which a role said that it waits for Redis."""
        return [str(event["error"]) for event in self.log(kind, "waiting for Redis")]

    def readiness(self, kind: str) -> tuple[int, str]:
        """The status and text of a role's /readyz; zero: it serves nothing."""
        return self._ask(kind, "readyz")

    def metric(self, kind: str, name: str) -> float:
        """The sum of a metric over its labels, as the role serves it; zero: it serves none."""
        lines = [line.rpartition(" ") for line in self._ask(kind, "metrics")[1].splitlines()]
        return sum(float(value) for series, _, value in lines if series.partition("{")[0] == name)

    def _ask(self, kind: str, page: str) -> tuple[int, str]:
        for path in (self.folder / "endpoints").glob("*.json"):
            with contextlib.suppress(FileNotFoundError, ValueError):
                endpoint = json.loads(path.read_text())
                if endpoint["role"] == _KINDS[kind]:
                    return _get(f"{endpoint['url']}/{page}")
        return 0, ""

    def trained(self) -> int:
        """How many samples the last durable checkpoint holds."""
        return len(last_training_state(self.config)[1])

    def queued(self) -> int:
        """How many labels wait in Redis, trained but not acknowledged ones included."""
        with connect(self.config.redis, self.config.queue, run_folder=self.folder) as queue:
            return queue.stats().unacked_labels

    def await_trained(self, samples: int) -> int:
        """Wait until a durable checkpoint holds so many samples; return how many it holds."""
        assert samples < len(self.usable), "the run would be over"
        self.until(lambda: self.trained() >= samples, what=f"{samples} trained samples")
        return self.trained()

    def until(self, condition: Callable[[], Any], *, what: str) -> Any:
        """Wait for a condition while no role fails."""

        def met() -> Any:
            assert not any(process.exitcode for process in self.processes), self.said()
            return condition()

        return until(met, what=what, within_s=PATIENCE_S)

    def check_alive(self, processes: dict[str, ForkServerProcess]) -> None:
        """None of these roles has ended."""
        for process in processes.values():
            assert process.exitcode is None, self.said()

    def finish(self, roles: dict[str, ForkServerProcess]) -> None:
        """Wait for labeler and trainer to find the corpus finished, and end the promoter."""
        for kind in ("label", "train"):
            self.until(lambda kind=kind: roles[kind].exitcode == 0, what=f"{kind} finding the corpus finished")
        roles["promote"].terminate()
        roles["promote"].join(30)
        assert roles["promote"].exitcode == 0, self.said()

    def check_each_trained_once(self, *, redis_url: str | None = None, others: int = 0) -> AuditReport:
        """By the weights, past every ledger: each sample exactly once. And by the audit.

        Args:
            redis_url: for the audit, where it is not the run's.
            others: samples that the corpus has beside those of `make_stub_run`.
        """
        store = CheckpointStore(f"{RunFolder.of(self.config).registry_url(self.config)}/resume")
        latest = store.latest()
        assert latest is not None
        counts = counting.times_trained(store.read(latest.name))
        expected = np.zeros(self.samples, dtype=np.int64)
        expected[self.usable] = 1
        wrong = np.flatnonzero(counts != expected)
        assert not len(wrong), {int(number): int(counts[number]) for number in wrong[:20]}
        return check_finished(account_of(self.config_of(redis_url)), samples=self.samples + others)

    def config_of(self, redis_url: str | None) -> RunConfig:
        """The run's configuration with another way to Redis."""
        if redis_url is None:
            return self.config
        return self.config.model_copy(update={"redis": self.config.redis.model_copy(update={"url": redis_url})})

    def said(self) -> str:
        """The ends of what all roles printed."""
        outputs = sorted(self.folder.parent.glob("*.txt"))
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-1500:]}" for path in outputs)

    def end(self) -> None:
        """Leave no process behind."""
        for process in self.processes:
            if process.is_alive():
                process.kill()
            process.join(20)
            process.close()


def make_stub_run(
    folder: Path,
    *,
    redis: dict[str, Any],
    shards: int = 4,
    samples_per_shard: int = 400,
    pace_ms: int = 30,
    **sections: dict[str, Any],
) -> StubRun:
    """Write a corpus and the first teacher of a run that keeps labeler and trainer in step, so that both are at work.

    Every tenth sample has nothing to label. `pace_ms` is what labelling a batch, and a training step, take at least, so
    that a run is not over before a test could do something to it. `sections` are laid over the configuration's.
    """
    usable = corpus.write_stub_corpus(
        folder / "corpus", shards=shards, samples_per_shard=samples_per_shard, nounless_every=10
    )
    samples = shards * samples_per_shard
    tree: dict[str, Any] = {
        "folder": str(folder / "run"),
        "method": counting.METHOD,
        "optimiser": counting.COUNTING_OPTIMISER,
        "redis": redis,
        "data": {"shards": [str(folder / "corpus" / "*.tar")]},
        "queue": {"max_unacked_labels": 256, "lease_ttl_s": 3.0},
        "labeler": {"batch_images": 16, "threads": 1},
        "trainer": {"batch_base": 0, "batch_captions": 16, "checkpoint_every_steps": 4, "threads": 1},
        "promotion": {"every_steps": 20, "poll_s": 0.2, "gates": {"enabled": False}},
        "metrics": {"port": 0},
    }
    for name, section in sections.items():
        tree[name] = {**tree.get(name, {}), **section}
    config = parse_config(tree, source="test")
    environment = {
        counting.SAMPLES_VARIABLE: str(samples),
        counting.PACE_VARIABLE: str(pace_ms),
        "OMP_NUM_THREADS": "1",
    }
    os.environ[counting.SAMPLES_VARIABLE] = str(samples)  # the first teacher is made here
    corpus.propose_stub_teacher(config)
    return StubRun(config, usable, samples, environment)


MakeStubRun = Callable[..., StubRun]


def _get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return 0, ""
