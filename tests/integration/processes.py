"""Runs of the real command in real processes: started, awaited, and never left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from xpm_stream.config import RunConfig, load_config
from xpm_stream.label_queue import AuditReport, OrdinalRanges, TrainedLedger
from xpm_stream.stages.run_account import RunAccount, account_of

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE_S = 240.0


def until(condition: Callable[[], Any], *, what: str, within_s: float = PATIENCE_S) -> Any:
    """Return the condition's first true value."""
    deadline = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {within_s:.0f} s"
        time.sleep(0.05)
    return value


@dataclass
class Command:
    """A started `xpm-stream`, its output in a file."""

    arguments: tuple[str, ...]
    process: subprocess.Popen[bytes]
    output: Path

    @property
    def said(self) -> str:
        return self.output.read_text(encoding="utf-8", errors="replace")

    def wait(self, within_s: float = PATIENCE_S) -> int:
        """Return its exit status."""
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"{self.arguments} did not end:\n{self.said[-3000:]}") from error

    def succeeds(self) -> str:
        """Wait for a good end; return what it said."""
        status = self.wait()
        assert status == 0, f"{self.arguments} ended with {status}:\n{self.said[-3000:]}"
        return self.said

    def fails(self) -> str:
        """Wait for a clean failure; return its error, which is no traceback."""
        status = self.wait()
        assert status == 1, f"{self.arguments} ended with {status}:\n{self.said[-3000:]}"
        assert "Traceback" not in self.said, self.said
        errors = [line for line in self.said.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, self.said
        return errors[0]

    def dies(self) -> None:
        """Wait for its SIGKILL."""
        status = self.wait()
        assert status == -signal.SIGKILL, f"{self.arguments} ended with {status}:\n{self.said[-3000:]}"

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to stop; return its exit status."""
        self.process.send_signal(number)
        return self.wait()


@dataclass
class Run:
    """A run folder and the processes that work in it."""

    folder: Path
    config_path: Path
    started: list[Command] = field(default_factory=list)

    @property
    def config(self) -> RunConfig:
        return load_config(self.config_path)

    def start(
        self,
        *arguments: str,
        crash_at: str | None = None,
        prefix: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> Command:
        """Start `xpm-stream ARGUMENTS`; a role (label, train, ...) gets the configuration."""
        role = arguments[0] in ("up", "pretrain", "teach", "label", "train", "promote", "watch")
        given = [arguments[0], str(self.config_path), *arguments[1:]] if role else list(arguments)
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "160", **(environment or {})}
        variables.pop("XPM_STREAM_CRASH_AT", None)
        if crash_at is not None:
            variables["XPM_STREAM_CRASH_AT"] = crash_at
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        output = self.folder.parent / f"{self.folder.name}-{len(self.started):02d}-{arguments[0]}.txt"
        with output.open("wb") as sink:
            process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "xpm_stream.cli.main", *given],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=variables,
                cwd=REPOSITORY,
                start_new_session=True,
            )
        self.started.append(Command(arguments, process, output))
        return self.started[-1]

    def end(self) -> None:
        """Kill what a failed test left running; only after that complain."""
        for command in self.started:
            if command.process.poll() is None:
                command.process.kill()
                command.process.wait()
        try:
            until(lambda: not self.processes(), what=f"processes of {self.folder} ending", within_s=60)
        finally:
            for process in self.processes():
                process.kill()

    def processes(self) -> list[psutil.Process]:
        """Every process that names this run on its command line: roles, evaluations, redis-server, its supervisor."""
        return [
            process
            for process in psutil.process_iter(["cmdline", "pid"])
            if process.pid != os.getpid() and any(str(self.folder) in part for part in process.info["cmdline"] or ())
        ]

    def log(self, role: str) -> list[dict[str, Any]]:
        """Return the log lines of a role, over all its processes."""
        # Of two at once the second writes ROLE.PID.jsonl.
        paths = [path for name in (f"{role}.jsonl", f"{role}.*.jsonl") for path in self.folder.glob(f"logs/{name}")]
        return [json.loads(line) for path in paths for line in path.read_text().splitlines()]

    def logged(self, role: str, message: str) -> list[dict[str, Any]]:
        """Return the log lines of a role that say `message`."""
        return [event for event in self.log(role) if event["message"] == message]

    def account(self) -> RunAccount:
        """Audit the run."""
        return account_of(self.config)


def check_account(account: RunAccount) -> AuditReport:
    """Everything adds up, and what the trainer counted is what its ledger holds: nothing was trained twice."""
    audit = account.audit
    assert audit.ok, audit.problems()
    assert audit.unidentified == 0
    assert audit.unknown_trained == 0
    stored = account.training.ledger  # none before the first checkpoint
    ledger = TrainedLedger.from_dict(stored) if stored else TrainedLedger()
    assert account.training.samples_trained == len(ledger)
    assert sum(tally.samples for tally in account.training.by_teacher.values()) == len(ledger)
    return audit


def check_finished(account: RunAccount, *, samples: int) -> AuditReport:
    """Every sample of the corpus is trained, skipped or dead, and nothing waits."""
    audit = check_account(account)
    totals = audit.totals()
    assert totals["samples"] == samples
    assert totals["trained"] + totals["skipped"] + totals["dead"] == samples
    assert totals["queued"] == totals["relabels"] == totals["unsettled"] == totals["ahead"] == 0
    for row in audit.rows:
        assert row.missing == OrdinalRanges()
    return audit
