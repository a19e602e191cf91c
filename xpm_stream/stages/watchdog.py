"""A role that makes no progress says where it stands and exits; nothing hangs in silence."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time

import structlog

EXIT_STALLED = 75  # EX_TEMPFAIL: a supervisor may start the role again


class Watchdog:
    """Ends the process when `progress` was not called for `timeout_s` seconds."""

    def __init__(self, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._where = "starting"
        self._last = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def progress(self, where: str) -> None:
        """Say that work went on, and what comes next."""
        self._where, self._last = where, time.monotonic()

    def _watch(self) -> None:
        while not self._stopped.wait(min(1.0, self._timeout_s / 4)):
            silent_s = time.monotonic() - self._last
            if silent_s > self._timeout_s:
                structlog.get_logger().error(
                    "stalled", where=self._where, silent_s=round(silent_s, 1), timeout_s=self._timeout_s
                )
                # The main thread may be stuck in C code: only a hard exit is sure. Nothing is lost by it, labels
                # are acknowledged after checkpoints and shards are leased.
                faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
                print(
                    f"error: no progress for {silent_s:.0f} s at: {self._where} (every thread's place is above); "
                    "start it again, or raise trainer.stall_timeout_s",
                    file=sys.stderr,
                    flush=True,
                )
                os._exit(EXIT_STALLED)
