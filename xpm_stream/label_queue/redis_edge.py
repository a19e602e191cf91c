"""The one place that talks to redis-py: retries, error translation, scripts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib import resources
from typing import Any, Final, TypeVar

import msgspec
import redis
import redis.exceptions
import tenacity

from xpm_stream.errors import QueueError, QueueUnavailable
from xpm_stream.label_queue.redis_errors import TransientRefusal, translated

Result = TypeVar("Result")
_WAIT_FIRST_S: Final = 0.05
_WAIT_LONGEST_S: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """One failed attempt that will be repeated."""

    doing: str
    error: QueueError
    attempt: int  # counts from 1
    waited_s: float  # since the first attempt


@cache
def _script_text(name: str) -> str:
    """The Lua of script `name`, behind the functions all scripts share."""
    folder = resources.files("xpm_stream.label_queue") / "lua"
    return "\n".join((folder / f"{part}.lua").read_text("utf-8") for part in ("_shared", name))


class RedisEdge:
    """Calls to one Redis (or Redis Cluster), each retried while Redis is away and translated when it refuses.

    Every script may safely run twice: after a cut connection nobody knows whether it ran.
    """

    def __init__(
        self,
        client: Any,
        *,
        where: str,
        retry_for_s: float,
        block_limit_ms: int = 1000,
        on_outage: Callable[[Outage], None] | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        # redis-py's Redis and RedisCluster share methods but no base class, and type both loosely.
        self.client: Any = client
        self.where = where
        self.block_limit_ms = block_limit_ms
        self._retry_for_s = retry_for_s
        self._on_outage = on_outage
        self._stop = stop
        self._scripts: dict[str, Callable[..., Any]] = {}

    def call(self, operation: Callable[[], Result], *, doing: str) -> Result:
        """Runs `operation`, again and again while Redis is away, for `retry_for_s` at most.

        Raises:
            QueueUnavailable: Redis stayed away.
            QueueRefused: Redis refuses, and either waiting cannot help or did not.
            LeaseLost, EpochFenced: a script's fence.
        """
        started_s = time.monotonic()
        try:
            return self._once(operation, doing=doing)
        except (QueueUnavailable, TransientRefusal) as error:
            self._report(error, doing=doing, attempt=1, started_s=started_s)
        # The first repeat follows at once: a connection that broke while idle is replaced by then.
        return self._again(operation, doing=doing, started_s=started_s)

    def _again(self, operation: Callable[[], Result], *, doing: str, started_s: float) -> Result:
        def report(state: tenacity.RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            assert isinstance(error, QueueError), "nothing else is repeated"
            self._report(error, doing=doing, attempt=state.attempt_number + 1, started_s=started_s)

        stop: Any = tenacity.stop_after_delay(self._retry_for_s)
        sleep: Callable[[float], Any] = time.sleep
        if self._stop is not None:
            stop = tenacity.stop_any(stop, tenacity.stop_when_event_set(self._stop))
            sleep = self._stop.wait
        for attempt in tenacity.Retrying(
            retry=tenacity.retry_if_exception_type((QueueUnavailable, TransientRefusal)),
            stop=stop,
            wait=tenacity.wait_random_exponential(multiplier=_WAIT_FIRST_S, max=_WAIT_LONGEST_S),
            sleep=sleep,
            before_sleep=report,
            reraise=True,
        ):
            with attempt:
                return self._once(operation, doing=doing)
        raise AssertionError("tenacity ends by returning or raising")

    def _report(self, error: QueueError, *, doing: str, attempt: int, started_s: float) -> None:
        if self._on_outage is not None:
            waited_s = time.monotonic() - started_s
            self._on_outage(Outage(doing=doing, error=error, attempt=attempt, waited_s=waited_s))

    def _once(self, operation: Callable[[], Result], *, doing: str) -> Result:
        try:
            return operation()
        except (redis.exceptions.RedisError, redis.exceptions.RedisClusterException, OSError) as error:
            raise translated(error, where=self.where, doing=doing) from error

    def run(
        self,
        name: str,
        *,
        keys: Sequence[str],
        arguments: dict[str, Any],
        messages: Sequence[bytes] = (),
        doing: str,
    ) -> Any:
        """Runs the Lua script `name` and returns its raw reply.

        Args:
            name: file name in `lua/`, without its ending.
            keys: every key it touches.
            arguments: its named arguments: one msgpack map.
            messages: encoded labels; their sizes are among the arguments.
            doing: what it does, for error messages.
        """
        script = self._scripts.get(name)
        if script is None:
            script = self._scripts[name] = self.client.register_script(_script_text(name))
        packed = msgspec.msgpack.encode(arguments)
        found: Callable[..., Any] = script
        return self.call(lambda: found(keys=list(keys), args=[packed, b"".join(messages)]), doing=doing)

    def command(self, method: str, *arguments: Any, doing: str, **options: Any) -> Any:
        """Runs one command: a method of the redis-py client."""
        operation: Callable[[], Any] = partial(getattr(self.client, method), *arguments, **options)
        return self.call(operation, doing=doing)

    def pipeline(self, fill: Callable[[Any], None], *, doing: str) -> list[Any]:
        """Runs the commands `fill` puts on a pipeline, in one round trip and not as a transaction."""

        def operation() -> list[Any]:
            with self.client.pipeline(transaction=False) as pipe:
                fill(pipe)
                return list(pipe.execute())

        return self.call(operation, doing=doing)

    def close(self) -> None:
        """Closes the connections."""
        self.client.close()
