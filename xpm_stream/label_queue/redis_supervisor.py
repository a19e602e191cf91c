"""Keeps one embedded redis-server for its owner: a script of its own, standard library only, started by `embedded.py`.

Usage: python redis_supervisor.py LOCK_FILE BINARY CONFIG_FILE

It ends redis-server (SIGTERM: Redis writes its append-only file and leaves) when its standard input ends, which
happens when the owner closes it or dies in any way, SIGKILL included. The lock file is held by redis-server itself for
as long as it lives, so no second server ever opens the same data. A redis-server that ends by itself (a crash, the
kernel's out-of-memory killer) is started again, unless it keeps failing at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import signal
import subprocess
import sys
import time

_PR_SET_PDEATHSIG = 1
_LOCK_PATIENCE_S = 20.0
_EXIT_LOCKED = 75  # EX_TEMPFAIL
_SHORTEST_LIFE_S = 1.0  # a server that ends sooner did not really start
_FAILED_STARTS = 3  # in a row, and it would only fail again


def _die_with_supervisor() -> None:
    """On Linux redis-server gets SIGTERM should this supervisor itself be killed."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _locked(path: str) -> int | None:
    """The lock file's descriptor once it is ours, or none when its holder does not let go."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    deadline_s = time.monotonic() + _LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline_s:
                return None
            time.sleep(0.05)
        else:
            return descriptor


def _owner_gone(patience_s: float) -> bool:
    """Waits a little for the end of standard input."""
    readable, _, _ = select.select([sys.stdin], [], [], patience_s)
    return bool(readable) and not os.read(sys.stdin.fileno(), 1024)


def _start(binary: str, config_file: str, lock: int) -> subprocess.Popen[bytes]:
    # One thread only, so a function between fork and exec is safe here (it would not be in a process with torch).
    return subprocess.Popen(
        [binary, config_file],
        stdin=subprocess.DEVNULL,
        pass_fds=(lock,),
        preexec_fn=_die_with_supervisor,  # noqa: PLW1509
    )


def main() -> int:
    """Runs redis-server until standard input ends or it cannot be kept up; returns its exit status."""
    lock_file, binary, config_file = sys.argv[1:]
    lock = _locked(lock_file)
    if lock is None:
        return _EXIT_LOCKED
    failed = 0
    while True:
        server = _start(binary, config_file, lock)
        started_s = time.monotonic()
        while server.poll() is None:
            if _owner_gone(0.1):
                server.terminate()
                return server.wait()
        failed = failed + 1 if time.monotonic() - started_s < _SHORTEST_LIFE_S else 0
        if failed == _FAILED_STARTS or _owner_gone(0.1):
            return server.wait()


if __name__ == "__main__":
    sys.exit(main())
