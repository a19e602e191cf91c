"""What redis-server says of itself: CPU, bytes, and how long each of our scripts took."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from typing import Any, Final

import msgspec
import numpy as np
import redis

from xpm_stream.label_queue.redis_edge import _script_text

_LUA: Final = resources.files("xpm_stream.label_queue") / "lua"
_SLOWLOG_ENTRIES: Final = 50_000
_LOGGED_FROM_US: Final = 8


class ServerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A moment of a server."""

    at_s: float  # monotonic
    cpu_s: float  # user and system since it started, of all its threads
    main_cpu_s: float  # of the thread that runs commands
    commands: int
    bytes_in: int
    bytes_out: int
    used_bytes: int
    dataset_bytes: int


class ScriptTime(msgspec.Struct, frozen=True, kw_only=True):
    """How long one script (or command) ran inside Redis."""

    name: str
    calls: int
    mean_us: float
    p50_us: float
    p99_us: float


def facts_of(client: redis.Redis) -> ServerFacts:
    """Ask a server for its moment."""
    info: Any = client.info("everything")
    return ServerFacts(
        at_s=time.monotonic(),
        cpu_s=info["used_cpu_user"] + info["used_cpu_sys"],
        main_cpu_s=info.get("used_cpu_user_main_thread", 0.0) + info.get("used_cpu_sys_main_thread", 0.0),
        commands=info["total_commands_processed"],
        bytes_in=info["total_net_input_bytes"],
        bytes_out=info["total_net_output_bytes"],
        used_bytes=info["used_memory"],
        dataset_bytes=info["used_memory_dataset"],
    )


def share_of_core(before: ServerFacts, after: ServerFacts) -> float:
    """CPU seconds of the command thread for each second that passed: 1 is a core that cannot do more."""
    return (after.main_cpu_s - before.main_cpu_s) / (after.at_s - before.at_s)


@contextmanager
def every_call_logged(client: redis.Redis, *, newest: int = _SLOWLOG_ENTRIES) -> Iterator[None]:
    """Have the server's slow log take every script from here on; as before afterwards, and empty.

    The log is in Redis' memory, about a kilobyte for each of the `newest` calls that it keeps.
    """
    kept = client.config_get("slowlog-*")
    client.config_set("slowlog-max-len", newest)
    # No script is faster; Redis 6.2 would log each command inside a script too.
    client.config_set("slowlog-log-slower-than", _LOGGED_FROM_US)
    client.slowlog_reset()
    try:
        yield
    finally:
        for name, value in kept.items():
            client.config_set(name, value)
        client.slowlog_reset()


def script_times(client: redis.Redis) -> list[ScriptTime]:
    """Microseconds of each script in the slow log, most time in all first."""
    client.config_set("slowlog-log-slower-than", -1)  # what is asked for here is not to be logged itself
    names = {hashlib.sha1(_script_text(name).encode()).hexdigest(): name for name in _script_names()}
    taken: dict[str, list[int]] = {}
    for entry in client.slowlog_get(_SLOWLOG_ENTRIES):
        command, _, rest = bytes(entry["command"]).partition(b" ")
        if command.upper() == b"EVALSHA" and (name := names.get(rest[:40].decode("ascii", "replace"))):
            taken.setdefault(name, []).append(entry["duration"])
    found = [_script_time(name, values) for name, values in taken.items()]
    return sorted(found, key=lambda one: -one.calls * one.mean_us)


def _script_time(name: str, durations: Sequence[int]) -> ScriptTime:
    p50, p99 = np.percentile(durations, [50, 99])
    return ScriptTime(
        name=name, calls=len(durations), mean_us=float(np.mean(durations)), p50_us=float(p50), p99_us=float(p99)
    )


def _script_names() -> list[str]:
    return [file.name.removesuffix(".lua") for file in _LUA.iterdir() if not file.name.startswith("_")]
