"""Waiting for an object store that is away: what a role asks of its registry is asked again for a while."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import tenacity

from xpm_stream.errors import RegistryUnavailable

Result = TypeVar("Result")

# What clients of stores say of a connection, or (None) of the other side, and of a store that is too busy.
_BROKEN_CONNECTION: Final = frozenset({None, errno.ECONNRESET, errno.ECONNREFUSED, errno.EPIPE, errno.ETIMEDOUT})
_TOO_BUSY: Final = frozenset({errno.EBUSY, errno.EREMOTEIO, errno.EIO})
_WAIT_FIRST_S: Final = 0.25
_WAIT_LONGEST_S: Final = 5.0


class StoreRefusal(OSError):
    """A store that cannot even be asked before a person changes something: no credentials, an address that is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOutage:
    """One failed attempt that will be repeated."""

    error: RegistryUnavailable
    attempt: int  # counts from 1
    waited_s: float  # since the first attempt


def may_pass(error: BaseException) -> bool:
    """Tell whether a store may answer otherwise a little later: not what is missing, refused, or needs a person."""
    refused = isinstance(error, FileNotFoundError | FileExistsError | PermissionError | StoreRefusal)
    return isinstance(error, OSError) and not refused and error.errno in _BROKEN_CONNECTION | _TOO_BUSY


class Patience:
    """Repeats what a store did not answer, for `retry_for_s` at most, or until told to stop.

    Once it has given up, it asks only once each, until the store answers again: who cleans up is not kept waiting for
    every file.

    Example:
        >>> patience = Patience(retry_for_s=60)
        >>> patience.call(lambda: filesystem.cat_file(path), url="s3://models/registry")
    """

    def __init__(
        self,
        *,
        retry_for_s: float,
        on_outage: Callable[[StoreOutage], object] | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self._retry_for_s = retry_for_s
        self._on_outage = on_outage
        self._stop = stop
        self._gave_up = False

    def call(self, operation: Callable[[], Result], *, url: str) -> Result:
        """Return what `operation` does with the store at `url`, which messages name.

        Raises:
            RegistryUnavailable: the store stayed away.
            OSError: it answered, and waiting cannot help.
        """
        started_s = time.monotonic()
        try:
            result = self._retrying(started_s, url)(operation)
        except OSError as error:
            self._gave_up = may_pass(error)
            if not self._gave_up:
                raise
            raise self._unavailable(error, started_s, url) from error
        self._gave_up = False
        return result

    def _retrying(self, started_s: float, url: str) -> tenacity.Retrying:
        def report(state: tenacity.RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            assert isinstance(error, OSError), "nothing else is repeated"
            if self._on_outage is not None:
                away = self._unavailable(error, started_s, url)
                waited_s = time.monotonic() - started_s
                self._on_outage(StoreOutage(error=away, attempt=state.attempt_number, waited_s=waited_s))

        stop: Any = tenacity.stop_after_delay(0 if self._gave_up else self._retry_for_s)
        sleep: Callable[[float], Any] = time.sleep
        if self._stop is not None:
            stop = tenacity.stop_any(stop, tenacity.stop_when_event_set(self._stop))
            sleep = self._stop.wait
        return tenacity.Retrying(
            retry=tenacity.retry_if_exception(may_pass),
            stop=stop,
            wait=tenacity.wait_random_exponential(multiplier=_WAIT_FIRST_S, max=_WAIT_LONGEST_S),
            sleep=sleep,
            before_sleep=report,
            reraise=True,
        )

    def _unavailable(self, error: OSError, started_s: float, url: str) -> RegistryUnavailable:
        waited_s = time.monotonic() - started_s
        return RegistryUnavailable(
            f"the registry {url} does not answer (for {waited_s:.0f} s; registry.retry_for_s is "
            f"{self._retry_for_s:g}): {error}"
        )
