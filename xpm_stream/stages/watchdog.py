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
    """Ends the process when a thread that it watches does not say `progress` for `timeout_s` seconds.

    The thread that makes it is watched from the beginning, others from `watch` on, each on its own: a busy one does not
    hide another that is stuck.
    """

    def __init__(self, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._places: dict[threading.Thread, tuple[str, float]] = {}  # where it is, since when (monotonic seconds)
        self.watch("starting")
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def progress(self, where: str) -> None:
        """Say that this thread's work went on, and what comes next; nothing, if it is not watched now."""
        if threading.current_thread() in self._places:
            self.watch(where)

    def watch(self, where: str) -> None:
        """Watch this thread from now on."""
        self._places[threading.current_thread()] = (where, time.monotonic())

    def pause(self) -> None:
        """Stop watching this thread: it waits for another one of the process, which is watched itself, or it ends."""
        self._places.pop(threading.current_thread(), None)

    def _longest_silent(self) -> tuple[str, float] | None:
        """Where the thread is that was silent for longest, and for how many seconds."""
        now = time.monotonic()
        places = [(thread, *place) for thread, place in list(self._places.items())]
        silent = [
            (where if thread is threading.main_thread() else f"{where} (thread {thread.name})", now - since)
            for thread, where, since in places
            if thread.is_alive()
        ]
        return max(silent, key=lambda place: place[1], default=None)

    def _watch(self) -> None:
        while not self._stopped.wait(min(1.0, self._timeout_s / 4)):
            where, silent_s = self._longest_silent() or ("", 0.0)
            if silent_s > self._timeout_s:
                structlog.get_logger().error(
                    "stalled", where=where, silent_s=round(silent_s, 1), timeout_s=self._timeout_s
                )
                # The main thread may be stuck in C code: only a hard exit is sure. Nothing is lost by it, labels
                # are acknowledged after checkpoints and shards are leased.
                faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
                print(
                    f"error: no progress for {silent_s:.0f} s at: {where} (every thread's place is above); "
                    "start it again, or raise trainer.stall_timeout_s",
                    file=sys.stderr,
                    flush=True,
                )
                os._exit(EXIT_STALLED)
