"""The files of `logs/`: bounded, and never of two writers; a process's own output among them."""

from __future__ import annotations

import fcntl
import io
import os
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Self

from xpm_stream.config.queue_sections import LogsConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """When a file is full, and how many full ones stay."""

    max_bytes: int
    keep: int

    @classmethod
    def of(cls, config: LogsConfig) -> Self:
        """Return what the configuration says."""
        return cls(max_bytes=config.max_mb << 20, keep=config.keep)


class LogFile(RotatingFileHandler):
    """`NAME.jsonl` of one process; a second process of that name on this machine writes `NAME.PID.jsonl`.

    Two that rotate one file would delete each other's lines: the name belongs to who holds `.NAME.lock`, which the
    system lets go when that process ends, however it ends.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, folder: Path, name: str, *, rotation: Rotation) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._lock_file = (folder / f".{name}.lock").open("ab")
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock_file.close()
            name = f"{name}.{os.getpid()}"
        path = folder / f"{name}.jsonl"
        super().__init__(path, maxBytes=rotation.max_bytes, backupCount=rotation.keep, encoding="utf-8")

    def close(self) -> None:
        """Close the file, and let its name go."""
        super().close()
        self._lock_file.close()


class OutputFile(RotatingFileHandler):
    """The console handler of a process whose standard output and error are `NAME.out`: it begins a new file in time.

    Whatever else the process prints (a traceback, a C library's warning) goes the same way: both descriptors are moved
    to the new file in one step each, so nothing is lost, and nothing has to read along.
    """

    def __init__(self, path: Path, *, rotation: Rotation) -> None:
        super().__init__(path, maxBytes=rotation.max_bytes, backupCount=rotation.keep, encoding="utf-8")

    def _open(self) -> io.TextIOWrapper:
        stream = super()._open()
        for descriptor in (1, 2):
            os.dup2(stream.fileno(), descriptor)
        return stream


def is_output(path: Path) -> bool:
    """Whether this process's standard output and error are that file."""
    try:
        wanted = path.stat()
        return all(os.path.samestat(os.fstat(descriptor), wanted) for descriptor in (1, 2))
    except OSError:
        return False
