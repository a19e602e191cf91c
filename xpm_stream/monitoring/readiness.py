"""What keeps a process from working, asked often and by several, answered at once whatever it depends on does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

Check = Callable[[], str | None]  # why the process cannot work now, or nothing

PATIENCE_S: Final = 1.0  # what a check that asks others may take before its answer counts as no
_FRESH_S: Final = 1.0


class Bounded:
    """A check that asks another process, and is itself answered within `patience_s`: what comes later is a no.

    A frozen server keeps the asking thread for as long as its socket waits; meanwhile every other call is answered at
    once, and no second thread is started.
    """

    def __init__(self, check: Check, *, late: str, patience_s: float = PATIENCE_S) -> None:
        self._check = check
        self._late = late
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._asking: threading.Thread | None = None
        self._began_s = 0.0
        self._answer: str | None = late

    def __call__(self) -> str | None:
        """Return the check's answer, or `late` while there is none."""
        with self._lock:
            if self._asking is None or not self._asking.is_alive():
                self._answer, self._began_s = self._late, time.monotonic()
                self._asking = threading.Thread(target=self._ask, name="readiness", daemon=True)
                self._asking.start()
            self._asking.join(max(0.0, self._began_s + self._patience_s - time.monotonic()))
            return self._answer if not self._asking.is_alive() else self._late

    def _ask(self) -> None:
        self._answer = self._check()


class Readiness:
    """The answers of all checks, looked at no more often than once a second: a probe and a scrape share one look."""

    def __init__(self, checks: Sequence[Check], *, fresh_s: float = _FRESH_S) -> None:
        self._checks = checks  # may grow while the process starts
        self._fresh_s = fresh_s
        self._lock = threading.Lock()
        self._looked_s = float("-inf")
        self._reasons: list[str] = []

    def reasons(self) -> list[str]:
        """Return why the process cannot work now; nothing: it can."""
        with self._lock:
            if time.monotonic() - self._looked_s >= self._fresh_s:
                self._reasons = [why for check in tuple(self._checks) if (why := check())]
                self._looked_s = time.monotonic()
            return list(self._reasons)
