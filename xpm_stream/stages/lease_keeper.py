"""Leases kept while a labeler works: a thread of their own renews them, until they are let go or lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Self

import structlog

from xpm_stream.errors import LeaseLost, QueueRefused, QueueUnavailable

_RENEWALS_PER_LEASE: Final = 3


class KeptLease:
    """A lease that is being renewed."""

    def __init__(self, renew: Callable[[], None], *, ttl_s: float) -> None:
        self.renew = renew
        self.every_s = ttl_s / _RENEWALS_PER_LEASE
        self.due_s = time.monotonic() + self.every_s
        self.error: Exception | None = None  # what ended the renewing

    def check(self) -> None:
        """Return at once while the lease is held.

        Raises:
            LeaseLost: a renewal was refused: what is in hand cannot be committed any more.
        """
        if isinstance(self.error, LeaseLost):
            raise LeaseLost(str(self.error)) from self.error
        if self.error is not None:
            raise self.error


class LeaseKeeper:
    """Renews leases every third of their length, so that only a labeler that is gone loses one, not a slow one.

    A process that is killed or frozen renews nothing. One whose work hangs is ended by its watchdog, and so lets go
    too: its leases are free `trainer.stall_timeout_s` and `queue.lease_ttl_s` after its last progress at the latest.

    Example:
        >>> with LeaseKeeper() as keeper, keeper.keep(partial(queue.renew, lease), ttl_s=lease.ttl_s) as kept:
        >>>     kept.check()   # now and then: work for nothing is not begun
    """

    def __init__(self) -> None:
        self._kept: list[KeptLease] = []
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="lease keeper", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join()

    @contextmanager
    def keep(self, renew: Callable[[], None], *, ttl_s: float) -> Iterator[KeptLease]:
        """Renew a lease of `ttl_s` seconds until the end of the block, whether or not it is over by then."""
        kept = KeptLease(renew, ttl_s=ttl_s)
        with self._changed:
            self._kept.append(kept)
            self._changed.notify()
        try:
            yield kept
        finally:
            with self._changed:
                self._kept.remove(kept)

    def _run(self) -> None:
        while (due := self._next_due()) is not None:
            self._renew(due)

    def _next_due(self) -> KeptLease | None:
        """Wait for a lease to be due; none at the end."""
        with self._changed:
            while not self._ended:
                first = min((one for one in self._kept if one.error is None), key=lambda one: one.due_s, default=None)
                wait_s = None if first is None else first.due_s - time.monotonic()
                if first is not None and wait_s is not None and wait_s <= 0:
                    return first
                self._changed.wait(wait_s)
        return None

    def _renew(self, kept: KeptLease) -> None:
        kept.due_s = time.monotonic() + kept.every_s
        try:
            kept.renew()
        except (QueueUnavailable, QueueRefused) as error:  # the working thread meets it too, and ends if it lasts
            structlog.get_logger().warning("cannot renew a lease", reason=str(error))
        except Exception as error:  # noqa: BLE001  # handed to the working thread, whose `check` raises it
            kept.error = error
