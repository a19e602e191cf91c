"""The processes that `up` starts: each a role of its own, in its own session, its output in the run folder."""

from __future__ import annotations

import json
import os
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
_SAID_OF_EVERY_LINE: Final = frozenset({"role", "pid", "level", "logger", "timestamp", "message"})


class RoleError(XpmStreamError):
    """A role's process ended with an error; the message holds what it said last."""


@dataclass(slots=True)
class Child:
    """One started role."""

    name: str
    process: subprocess.Popen[bytes]
    output: Path
    output_start: int  # bytes of earlier processes of this name, in the file of that inode
    output_inode: int
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
            raise RoleError(self._account_of_failure(status))
        return True

    def last_words(self) -> tuple[str, bool]:
        """Return the error it reported at its end, and true; else the last lines it printed, and false."""
        with self.output.open("rb") as stream:
            # The role begins a new file when this one is full.
            stream.seek(self.output_start if os.fstat(stream.fileno()).st_ino == self.output_inode else 0)
            lines = stream.read().decode("utf-8", errors="replace").splitlines()
        reported = [number for number, line in enumerate(lines) if line.startswith("error: ")]
        if reported:
            error = "\n".join(line for line in lines[reported[-1] :] if not line.startswith("{"))
            return error.removeprefix("error: "), True
        return "\n".join(_readable(line) for line in lines[-_TAIL_LINES:]), False

    def _account_of_failure(self, status: int) -> str:
        words, is_error = self.last_words()
        if is_error:
            return f"{self.name}: {words} (all its output: {self.output})"
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"
        return f"{self.name} {how}; its last lines in {self.output}:\n{words or '(none)'}"

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
        output_start, inode = sink.tell(), os.fstat(sink.fileno()).st_ino
        process = subprocess.Popen(
            [sys.executable, "-m", "xpm_stream.cli.main", "--end-with-parent", str(os.getpid()), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Child(name, process, output, output_start, inode, time.monotonic())


def stop_in_order(children: Sequence[Child], *, grace_s: float) -> list[str]:
    """Stop one after the other, waiting for each; return the names of those that had to be killed.

    Interrupted meanwhile (a second Ctrl-C), it kills all that are left.
    """
    killed = []
    try:
        for child in children:
            child.ask_to_stop()
            if not child.wait(grace_s):
                child.kill()
                killed.append(child.name)
    except KeyboardInterrupt:
        for child in children:
            child.kill()
        raise
    return killed


def _readable(line: str) -> str:
    """Return a JSON log line as people read it; other lines as they are."""
    try:
        event = json.loads(line)
    except ValueError:
        return line
    if not isinstance(event, dict) or "message" not in event:
        return line
    fields = " ".join(f"{key}={value}" for key, value in event.items() if key not in _SAID_OF_EVERY_LINE)
    return f"{event.get('level', '')}: {event['message']} {fields}".rstrip()
