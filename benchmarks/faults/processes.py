"""Real role and Redis processes, started in milliseconds: forked from a server that has everything imported already."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, TypeVar

import psutil  # type: ignore[import-untyped]

from xpm_stream.config import RunConfig
from xpm_stream.errors import XpmStreamError
from xpm_stream.stages.parent import end_with_parent

Kind = Literal["labeler", "trainer", "promoter"]
Result = TypeVar("Result")

EXIT_UNEXPECTED: Final = 70  # an error that is not of our tree: a traceback instead of a message
_POLL_S: Final = 0.01
_CONTEXT: Final = multiprocessing.get_context("forkserver")
_PRELOADED: Final = [
    "torch._dynamo",  # the first optimiser of a process would import it, for more than a second
    "xpm_stream.stages.labeling",
    "xpm_stream.stages.training",
    "xpm_stream.stages.promotion",
    "benchmarks.stub.counting",
    "benchmarks.faults.processes",
]


class CellFailed(Exception):
    """Something happened that is neither the fault asked for nor its proper answer."""


async def until(condition: Callable[[], Result], *, what: str, within_s: float) -> Result:
    """Return the condition's first true value.

    Raises:
        CellFailed: it did not become true in time.
    """
    deadline = time.monotonic() + within_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise CellFailed(f"{what}: not within {within_s:.0f} s")
        await asyncio.sleep(_POLL_S)
    return value


class Launched:
    """A started process, its output in a file of its own."""

    def __init__(self, what: str, target: Callable[..., None], arguments: Sequence[object], *, output: Path) -> None:
        _CONTEXT.set_forkserver_preload(_PRELOADED)
        self.what = what
        self.output = output
        self._process = _CONTEXT.Process(target=target, args=(str(output), *arguments), daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def exit_status(self) -> int | None:
        """Its exit status; minus the signal that killed it; none while it lives."""
        return self._process.exitcode

    @property
    def ended(self) -> bool:
        """Whether it is gone."""
        return self.exit_status is not None

    @property
    def stopped(self) -> bool:
        """Whether it is frozen by SIGSTOP."""
        try:
            return bool(psutil.Process(self.pid).status() == psutil.STATUS_STOPPED)
        except psutil.NoSuchProcess:
            return False

    @property
    def killed(self) -> bool:
        """Whether it ended by SIGKILL."""
        return self.exit_status == -signal.SIGKILL

    @property
    def said(self) -> str:
        """What it printed, log lines included."""
        return self.output.read_text(encoding="utf-8", errors="replace") if self.output.exists() else ""

    @property
    def error(self) -> str:
        """The error it ended with: `ClassName: message`; empty if none."""
        lines = [line for line in self.said.splitlines() if line.startswith("error: ")]
        return lines[-1].removeprefix("error: ") if lines else ""

    def signal(self, number: int) -> None:
        """Send it a signal; nothing happens if it is gone."""
        if not self.ended:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it by SIGKILL and wait for that."""
        self.signal(signal.SIGKILL)
        self._process.join()

    def limit_files(self, size_bytes: int | None) -> None:
        """Let no file of its grow beyond a size; none: lift that."""
        if not self.ended:
            limit_files(self.pid, size_bytes)


def limit_files(pid: int, size_bytes: int | None) -> None:
    """Let no file of a process grow beyond a size (EFBIG, as on a full disk); none: lift that."""
    hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard if size_bytes is None else size_bytes, hard))


def start_role(
    kind: Kind, *, index: int, config: RunConfig, variables: Mapping[str, str], crash_at: str | None, output: Path
) -> Launched:
    """Start a role's real process; `crash_at` is its XPM_STREAM_CRASH_AT."""
    given = dict(variables) | ({"XPM_STREAM_CRASH_AT": crash_at} if crash_at else {})
    return Launched(f"{kind} {crash_at or ''}".strip(), _play, (kind, index, config, given), output=output)


def start_program(command: Sequence[str], *, output: Path) -> Launched:
    """Start a program that ends with the harness. It ignores SIGXFSZ, as Python does: too large a file is an error."""
    return Launched(Path(command[0]).name, _become, (list(command),), output=output)


def _begin(output: str) -> None:
    end_with_parent(os.getppid())
    sink = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(sink, sys.stdout.fileno())
    os.dup2(sink, sys.stderr.fileno())


def _become(output: str, command: list[str]) -> None:
    _begin(output)
    os.execv(command[0], command)


def _play(output: str, kind: Kind, index: int, config: RunConfig, variables: Mapping[str, str]) -> None:
    # What a role imports beyond this was imported by the server already; here it is only looked up.
    from xpm_stream.stages.labeling import run_labeler
    from xpm_stream.stages.promotion import run_promoter
    from xpm_stream.stages.training import run_trainer

    _begin(output)
    os.environ.update(variables)
    try:
        if kind == "labeler":
            run_labeler(config, index=index)
        elif kind == "trainer":
            run_trainer(config)
        else:
            run_promoter(config)
    except XpmStreamError as error:  # what the command line does
        limit_files(os.getpid(), None)  # the disk that was full is the role's, not that of what it says
        print(f"\nerror: {type(error).__name__}: {error}", flush=True)
        sys.exit(1)
    except Exception:  # noqa: BLE001  # a traceback is a finding: the status says so
        traceback.print_exc()
        sys.exit(EXIT_UNEXPECTED)
