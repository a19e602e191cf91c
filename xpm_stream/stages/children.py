"""The processes that `up` starts: each a role of its own, in its own session, its output in the run folder."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from xpm_stream.errors import XpmStreamError

_TAIL_LINES: Final = 8


class RoleError(XpmStreamError):
    """A role's process ended with an error; the message holds the last lines it printed."""


@dataclass(slots=True)
class Child:
    """One started role."""

    name: str
    process: subprocess.Popen[bytes]
    output: Path
    started_at_s: float  # monotonic
    ended_at_s: float | None = None

    @property
    def seconds(self) -> float:
        """How long it has run, or ran."""
        return (self.ended_at_s or time.monotonic()) - self.started_at_s

    def poll(self) -> int | None:
        """Return its exit status, or none while it runs."""
        status = self.process.poll()
        if status is not None and self.ended_at_s is None:
            self.ended_at_s = time.monotonic()
        return status

    def check(self) -> bool:
        """Return whether it has ended well.

        Raises:
            RoleError: it ended with an error.
        """
        status = self.poll()
        if status is None:
            return False
        if status != 0:
            raise RoleError(
                f"{self.name} ended with {_explain(status)}; its last lines in {self.output}:\n{self.tail()}"
            )
        return True

    def tail(self) -> str:
        """Return the last lines it printed."""
        lines = self.output.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_TAIL_LINES:])

    def ask_to_stop(self) -> None:
        """Send SIGTERM, unless it has ended."""
        if self.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end; return whether it came in time."""
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        self.poll()
        return True

    def kill(self) -> None:
        """Send SIGKILL and wait."""
        if self.poll() is None:
            self.process.kill()
            self.process.wait()
            self.poll()


def start_role(name: str, arguments: Sequence[str], *, logs: Path) -> Child:
    """Start `xpm-stream ARGUMENTS` as a process that ends with this one.

    It gets a session of its own, so that Ctrl-C reaches only `up`, which then stops the roles in order.
    """
    logs.mkdir(parents=True, exist_ok=True)
    output = logs / f"{name}.out"
    with output.open("ab") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "xpm_stream.cli.main", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Child(name, process, output, time.monotonic())


def stop_in_order(children: Sequence[Child], *, grace_s: float) -> list[str]:
    """Stop one after the other, waiting for each; return the names of those that had to be killed."""
    killed = []
    for child in children:
        child.ask_to_stop()
        if not child.wait(grace_s):
            child.kill()
            killed.append(child.name)
    return killed


def _explain(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
