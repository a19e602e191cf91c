"""A role that makes no progress, or does not leave when told to, says where it stands and exits: nothing hangs."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from pathlib import Path
from typing import Final

import structlog

EXIT_STALLED: Final = 75  # EX_TEMPFAIL: a supervisor may start the role again
_SAYING_S: Final = 10.0  # where standard error is a full pipe, saying why would itself hang


class Watchdog:
    """Ends the process when a thread that it watches does not say `progress` for `timeout_s` seconds.

    The thread that makes it is watched from the beginning, others from `watch` on, each on its own: a busy one does not
    hide another that is stuck.

    With `stop` it also ends a process that is still there `stop_timeout_s` after that was set: whatever it waits for (a
    store, a server, another rank), leaving takes a bounded time.
    """

    def __init__(
        self, *, timeout_s: float, stop: threading.Event | None = None, stop_timeout_s: float = float("inf")
    ) -> None:
        self._timeout_s = timeout_s
        self._stop = stop
        self._stop_timeout_s = stop_timeout_s
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

    def stalled(self) -> str | None:
        """Say where a watched thread has been for longer than the timeout, or that nobody watches; nothing: all well.

        The process then ends itself; this is for who asks meanwhile, and should that not come about.
        """
        if not self._thread.is_alive() and not self._stopped.is_set():
            return "the watchdog is not running"
        where, silent_s = self._longest_silent() or ("", 0.0)
        return f"no progress for {silent_s:.0f} s at: {where}" if silent_s > self._timeout_s else None

    def _watch(self) -> None:
        told_s: float | None = None  # when `stop` was seen set
        while not self._stopped.wait(min(1.0, self._timeout_s / 4, self._stop_timeout_s / 4)):
            where, silent_s = self._longest_silent() or ("", 0.0)
            if silent_s > self._timeout_s:
                _end(
                    f"no progress for {silent_s:.0f} s at: {where}",
                    "start it again, or raise trainer.stall_timeout_s",
                    where=where,
                    silent_s=round(silent_s, 1),
                    timeout_s=self._timeout_s,
                )
            if self._stop is None or not self._stop.is_set():
                continue
            told_s = time.monotonic() if told_s is None else told_s
            if time.monotonic() - told_s > self._stop_timeout_s:
                _end(
                    f"told to stop, and still there {self._stop_timeout_s:.0f} s later, at: {where or 'leaving'}",
                    "nothing is lost: the next one goes on from the last commit or checkpoint; or raise stop_timeout_s",
                    where=where,
                    timeout_s=self._stop_timeout_s,
                )


def _end(what: str, way_out: str, **facts: object) -> None:
    """Say what is wrong and where every thread is, and end the process at once.

    The main thread may be stuck in C code: only a hard exit is sure. Nothing is lost by it, labels are acknowledged
    after checkpoints and shards are leased.
    """
    # In C and without the GIL, which a dump to a pipe that nobody reads would hold for ever.
    with Path(os.devnull).open("w") as nowhere:
        faulthandler.dump_traceback_later(_SAYING_S, exit=True, file=nowhere)
        _say(what, way_out, facts)
        os._exit(EXIT_STALLED)


def _say(what: str, way_out: str, facts: dict[str, object]) -> None:
    structlog.get_logger().error("stalled", **facts)
    faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
    print(f"error: {what} (every thread's place is above); {way_out}", file=sys.stderr, flush=True)
