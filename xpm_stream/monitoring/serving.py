"""One HTTP port for each process: `/metrics` for Prometheus, `/healthz` and `/readyz` for whoever restarts it."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from socketserver import ThreadingMixIn
from types import TracebackType
from typing import TYPE_CHECKING, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import msgspec
from prometheus_client import make_wsgi_app

from xpm_stream.errors import ConfigError
from xpm_stream.monitoring.metrics import Metrics

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


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

    def __init__(self, server: WSGIServer, *, endpoint: Endpoint, endpoint_file: Path | None) -> None:
        self.endpoint = endpoint
        self._server = server
        self._file = endpoint_file
        self._thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering, free the port, and remove the endpoint's file."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

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
    role: str | None = None,
) -> MetricsServer:
    """Serve a process's metrics and health; port 0 takes any free one.

    With `run_folder`, the bound endpoint is written to `endpoints/<role>-<pid>.json` in it. `role`: what the process
    is, where its metrics are another role's (a teacher in training has a trainer's).

    Raises:
        ConfigError: the port is taken or not allowed, or the host is not an address of this machine.
    """
    server = _bind(_application(metrics, health or Health()), host=host, port=port)
    reachable = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
    shown = f"[{reachable}]" if ":" in reachable else reachable
    endpoint = Endpoint(
        role=role or metrics.role,
        pid=os.getpid(),
        hostname=socket.gethostname(),
        host=host,
        port=server.server_port,
        url=f"http://{shown}:{server.server_port}",
        started_at_s=time.time(),
    )
    file = None
    if run_folder is not None:
        try:
            file = _write_endpoint(Path(run_folder), endpoint)
        except OSError as error:
            server.server_close()
            raise ConfigError(f"cannot write the metrics endpoint into run folder {run_folder}: {error}") from error
    return MetricsServer(server, endpoint=endpoint, endpoint_file=file)


def read_endpoints(run_folder: str | Path) -> list[Endpoint]:
    """Return the endpoints of a run's living processes, sorted by role and pid.

    Files of processes of this machine that were killed are left out.
    """
    found = []
    for path in Path(run_folder, "endpoints").glob("*.json"):
        try:
            endpoint = msgspec.json.decode(path.read_bytes(), type=Endpoint)
        except FileNotFoundError:
            continue  # closed just now
        if endpoint.hostname != socket.gethostname() or _is_alive(endpoint.pid):
            found.append(endpoint)
    return sorted(found, key=lambda endpoint: (endpoint.role, endpoint.pid))


class _Handler(WSGIRequestHandler):
    timeout = 10  # seconds; a client that says nothing does not hold a thread for ever

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a scrape every few seconds is not news."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    allow_reuse_port = False  # a taken port must be an error, not shared


class _Server6(_Server):
    address_family = socket.AF_INET6


def _bind(application: WSGIApplication, *, host: str, port: int) -> WSGIServer:
    kind = _Server6 if ":" in host else _Server
    try:
        return make_server(host, port, application, server_class=kind, handler_class=_Handler)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"cannot serve metrics on {host} port {port}: {reason}; set metrics.port to a free port "
            "(0: any), or metrics.host to an address of this machine"
        ) from error


def _application(metrics: Metrics, health: Health) -> WSGIApplication:
    scrape: WSGIApplication = make_wsgi_app(metrics.registry)

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        if path == "/metrics":
            return scrape(environ, start_response)
        if path == "/healthz":
            return _verdict(health.liveness(), "alive", start_response)
        if path == "/readyz":
            return _verdict(health.readiness(), "ready", start_response)
        start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
        return [b"/metrics  /healthz  /readyz\n"]

    return answer


def _verdict(reasons: Sequence[str], word: str, start_response: StartResponse) -> Iterable[bytes]:
    status = "503 Service Unavailable" if reasons else "200 OK"
    body = {"status": f"not {word}" if reasons else word, "reasons": list(reasons)}
    start_response(status, [("Content-Type", "application/json"), ("Cache-Control", "no-store")])
    return [json.dumps(body).encode() + b"\n"]


def _write_endpoint(run_folder: Path, endpoint: Endpoint) -> Path:
    folder = run_folder / "endpoints"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{endpoint.role}-{endpoint.pid}.json"
    temporary = path.with_suffix(".new")
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(endpoint)) + b"\n")
    temporary.replace(path)
    return path


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
