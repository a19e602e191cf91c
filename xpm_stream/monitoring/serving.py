"""One HTTP port for each process: `/metrics` for Prometheus, `/healthz` and `/readyz` for whoever restarts it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from xpm_stream.monitoring.metrics import Metrics


def _nothing_wrong() -> Sequence[str]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What is wrong right now, in words; nothing: all is well. Called from the server's threads, at every request."""

    liveness: Callable[[], Sequence[str]] = _nothing_wrong  # reasons to restart the process
    readiness: Callable[[], Sequence[str]] = _nothing_wrong  # reasons it cannot work now (Redis away, no teacher)


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where a process of a run answers."""

    role: str
    pid: int
    hostname: str
    host: str  # address it is bound to
    port: int
    url: str  # http://..., reachable from the same machine
    started_at_s: float  # Unix time


class MetricsServer:
    """A bound server with its own daemon thread; `close` it, or use it as a context manager."""

    endpoint: Endpoint

    def close(self) -> None:
        """Stop answering, free the port, and remove the endpoint's file."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def serve_metrics(
    metrics: Metrics,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    health: Health | None = None,
    run_folder: str | Path | None = None,
) -> MetricsServer:
    """Serve a process's metrics and health; port 0 takes any free one.

    With `run_folder`, the bound endpoint is written to `endpoints/<role>-<pid>.json` in it.

    Raises:
        ConfigError: the port is taken or not allowed, or the host is not an address of this machine.
    """
    raise NotImplementedError


def read_endpoints(run_folder: str | Path) -> list[Endpoint]:
    """Return the endpoints of a run's living processes, sorted by role and pid.

    Files of processes of this machine that were killed are left out.
    """
    raise NotImplementedError
