"""Keeps one embedded redis-server for its owner: a script of its own, standard library only, started by `embedded.py`.

Usage: python redis_supervisor.py LOCK_FILE BINARY CONFIG_FILE

It ends redis-server (SIGTERM: Redis writes its append-only file and leaves) when its standard input ends, which
happens when the owner closes it or dies in any way, SIGKILL included. The lock file is held by redis-server itself for
as long as it lives, so no second server ever opens the same data.
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


def main() -> int:
    """Runs redis-server until it ends by itself or standard input does; returns its exit status."""
    lock_file, binary, config_file = sys.argv[1:]
    lock = _locked(lock_file)
    if lock is None:
        return _EXIT_LOCKED
    # One thread only, so a function between fork and exec is safe here (it would not be in a process with torch).
    server = subprocess.Popen(
        [binary, config_file],
        stdin=subprocess.DEVNULL,
        pass_fds=(lock,),
        preexec_fn=_die_with_supervisor,  # noqa: PLW1509
    )
    signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    while server.poll() is None:
        readable, _, _ = select.select([sys.stdin], [], [], 0.2)
        if readable and not os.read(sys.stdin.fileno(), 1024):
            server.terminate()
            break
    return server.wait()


if __name__ == "__main__":
    sys.exit(main())
