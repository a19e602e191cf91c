"""The real roles on the stub method, each a process of its own that says at its end what it used.

The fork server imports torch once, so that a role starts in milliseconds and 64 of them fit into little memory.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import psutil

from benchmarks.stub.corpus import propose_stub_teacher
from benchmarks.stub.counting import COUNTING_OPTIMISER, METHOD, SAMPLES_VARIABLE
from xpm_stream.config import RunConfig
from xpm_stream.config.loading import parse_config

Kind = Literal["label", "train", "promote"]
_PRELOADED: Final = [
    "benchmarks.stub.counting",
    "xpm_stream.stages.labeling",
    "xpm_stream.stages.promotion",
    "xpm_stream.stages.training",
]
_STOP_PATIENCE_S: Final = 60.0


class RoleReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a role says of itself at its end."""

    name: str
    cpu_s: float  # user and system, of all threads
    seconds: float
    commits: list[tuple[float, float]]  # of a labeler: when each commit was answered (monotonic), and its seconds


class RoleFailed(RuntimeError):
    """A role of the stub run ended with an error."""


@dataclass(slots=True)
class MeasuredRole:
    """A role's process."""

    name: str
    kind: Kind
    process: Any  # multiprocessing's ForkServerProcess, which its stubs do not name
    report_file: Path
    output: Path
    _watched: psutil.Process = field(init=False)
    _cpu_s: float = 0.0

    def __post_init__(self) -> None:
        self._watched = psutil.Process(self.process.pid)

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return bool(self.process.is_alive())

    def cpu_s(self) -> float:
        """CPU seconds of all its threads so far, as last seen where it has ended."""
        try:
            times = self._watched.cpu_times()
        except psutil.Error:
            return self._cpu_s
        self._cpu_s = max(self._cpu_s, times.user + times.system)  # a process that has just ended counts from zero
        return self._cpu_s

    def memory(self) -> tuple[int, int] | None:
        """Bytes resident, and those of them that no other process shares; none when it has ended."""
        try:
            found = self._watched.memory_full_info()
        except psutil.Error:
            return None
        return found.rss, found.uss

    def report(self) -> RoleReport:
        """What it said at its end.

        Raises:
            RoleFailed: it ended with an error.
        """
        if self.process.exitcode != 0 or not self.report_file.exists():
            tail = "\n".join(self.output.read_text("utf-8", "replace").splitlines()[-8:])
            raise RoleFailed(f"{self.name} ended with {self.process.exitcode}:\n{tail}")
        return msgspec.json.decode(self.report_file.read_bytes(), type=RoleReport)


class MeasuredRoles:
    """Starts the roles of one run, and ends them."""

    def __init__(self, config: RunConfig, *, samples: int, time_commits: bool) -> None:
        assert config.folder is not None
        self.config = config
        self.roles: list[MeasuredRole] = []
        self._samples = samples
        self._time_commits = time_commits
        self._folder = Path(config.folder, "measured")
        self._folder.mkdir(parents=True, exist_ok=True)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(_PRELOADED)
        self._ready = self._context.Semaphore(0)
        self._begin = self._context.Event()

    def start(self, kind: Kind, index: int = 0) -> MeasuredRole:
        """Start a role; `index` numbers labelers, which wait for `begin`."""
        name = f"{kind}-{index}"
        report, output = self._folder / f"{name}.json", self._folder / f"{name}.out"
        process = self._context.Process(
            target=_run_role,
            kwargs={
                "kind": kind,
                "index": index,
                "config": self.config,
                "samples": self._samples,
                "report": report,
                "output": output,
                "time_commits": self._time_commits,
                "ready": self._ready,
                "begin": self._begin,
            },
        )
        process.start()
        role = MeasuredRole(name=name, kind=kind, process=process, report_file=report, output=output)
        self.roles.append(role)
        return role

    def begin(self) -> None:
        """Wait until every labeler started so far has loaded its teacher and its lexicon; then let them work.

        Raises:
            RoleFailed: one ended with an error.
        """
        for _ in self.of("label"):
            while not self._ready.acquire(timeout=0.2):
                self.check()
        self._begin.set()

    def of(self, kind: Kind) -> list[MeasuredRole]:
        """The roles of one kind."""
        return [role for role in self.roles if role.kind == kind]

    def check(self) -> None:
        """See that none has failed.

        Raises:
            RoleFailed: one ended with an error.
        """
        for role in self.roles:
            if not role.running:
                role.report()

    def stop(self) -> None:
        """End what still runs: labelers, then the trainer, then the promoter; kill what does not end."""
        for kind in ("label", "train", "promote"):
            ending = [role for role in self.of(kind) if role.running]
            for role in ending:
                role.process.terminate()
            for role in ending:
                role.process.join(_STOP_PATIENCE_S)
                if role.running:
                    role.process.kill()
                    role.process.join()


@contextmanager
def measured_roles(config: RunConfig, *, samples: int, time_commits: bool = False) -> Iterator[MeasuredRoles]:
    """Roles of a run on the stub corpus of so many samples; its first teacher is proposed, its processes ended.

    With `time_commits` labelers keep the seconds of each commit, which takes some of their memory.
    """
    os.environ[SAMPLES_VARIABLE] = str(samples)
    propose_stub_teacher(config)
    roles = MeasuredRoles(config, samples=samples, time_commits=time_commits)
    try:
        yield roles
    finally:
        roles.stop()


def stub_config(folder: Path, *, redis_url: str, sections: dict[str, dict[str, Any]]) -> RunConfig:
    """The configuration of a stub run in a folder, on the corpus in `corpus/` there.

    Args:
        folder: where corpus and run folder are.
        redis_url: the Redis it uses.
        sections: what is to differ, by section.
    """
    document: dict[str, Any] = {
        "folder": str(folder / "run"),
        "method": METHOD,
        "optimiser": COUNTING_OPTIMISER,
        "redis": {"url": redis_url},
        "data": {"shards": [str(folder / "corpus" / "*.tar")]},
        "labeler": {"threads": 1},
        "trainer": {"threads": 1, "batch_base": 0, "batch_captions": 16},
        "promotion": {"poll_s": 0.5, "gates": {"enabled": False}},
        "metrics": {"port": 0},
    }
    for name, values in sections.items():
        document[name] = {**document.get(name, {}), **values}
    return parse_config(document, source="stub run")


def _run_role(
    *,
    kind: Kind,
    index: int,
    config: RunConfig,
    samples: int,
    report: Path,
    output: Path,
    time_commits: bool,
    ready: Any,
    begin: Any,
) -> None:
    os.environ[SAMPLES_VARIABLE] = str(samples)
    with output.open("ab") as sink:
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
    # Imported by the fork server already.
    from xpm_stream.stages import labeling, promotion, training

    commits: list[tuple[float, float]] = []
    if kind == "label":
        _begin_together(ready, begin)
        commits = _timed_commits() if time_commits else []
    started, used_s = time.monotonic(), time.process_time()
    if kind == "label":
        labeling.run_labeler(config, index=index)
    elif kind == "train":
        training.run_trainer(config)
    else:
        promotion.run_promoter(config)
    found = RoleReport(
        name=f"{kind}-{index}",
        cpu_s=time.process_time() - used_s,
        seconds=time.monotonic() - started,
        commits=commits,
    )
    report.write_bytes(msgspec.json.encode(found))


def _begin_together(ready: Any, begin: Any) -> None:
    """Let this process's labeler wait, once all is loaded, for the moment at which all begin."""
    from xpm_stream.stages.labeling import Labeler

    original = Labeler.run

    def run(self: Labeler) -> None:
        ready.release()
        begin.wait()
        original(self)

    Labeler.run = run  # type: ignore[method-assign]


def _timed_commits() -> list[tuple[float, float]]:
    """From now on every commit of this process is timed; the list grows with each."""
    from xpm_stream.label_queue import CommitBatch, LabelQueue, Lease

    taken: list[tuple[float, float]] = []
    original = LabelQueue.commit

    def commit(self: LabelQueue, lease: Lease, batch: CommitBatch) -> Lease:
        started = time.perf_counter()
        renewed = original(self, lease, batch)
        taken.append((time.monotonic(), time.perf_counter() - started))
        return renewed

    LabelQueue.commit = commit  # type: ignore[method-assign]
    return taken
