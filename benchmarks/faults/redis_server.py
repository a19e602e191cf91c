"""A redis-server of the harness: killed, restarted, put back to an older copy, run on a full disk, cut off."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

import redis
import redis.backoff
import redis.exceptions
import redis.retry

from benchmarks.faults.processes import CellFailed, Launched, start_program, until
from xpm_stream.label_queue.embedded import find_redis_server

Fsync = Literal["always", "everysec"]
_START_S: Final = 20.0
_CHUNK: Final = 1 << 16


class OwnRedis:
    """redis-server with its append-only file, as an operator would run it, on a socket in its own folder."""

    def __init__(self, folder: Path, *, fsync: Fsync) -> None:
        folder.mkdir()
        self._folder = folder
        self._fsync = fsync
        self._process: Launched | None = None
        self.socket = folder / "r.sock"
        # Asked once and never waited for: the harness looks, it does not depend on Redis.
        never = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
        self.client: Any = redis.Redis(unix_socket_path=str(self.socket), socket_timeout=5.0, retry=never)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"unix://{self.socket}"

    async def start(self) -> None:
        """Start it on the data found in its folder, and wait until it answers."""
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "dir": str(self._folder),
            "save": "",
            "appendonly": "yes",
            "appendfsync": self._fsync,
            # Never rewritten, so that the beginning of the file is the copy of an earlier moment.
            "auto-aof-rewrite-percentage": "0",
            "maxmemory-policy": "noeviction",
            "logfile": str(self._folder / "redis.log"),
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        self._process = start_program([str(find_redis_server()), *arguments], output=self._folder / "out.txt")
        await until(self.answers, what="redis-server answering", within_s=_START_S)

    def answers(self) -> bool:
        """Whether it is up."""
        if self._process is not None and self._process.ended:
            raise CellFailed(f"redis-server ended with {self._process.exit_status}: see {self._folder}/redis.log")
        try:
            return bool(self.client.ping())
        except (redis.exceptions.RedisError, OSError):
            return False

    def kill(self) -> None:
        """End it by SIGKILL."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """End it and forget it."""
        self.client.close()
        self.kill()

    def roll_back(self, fraction: float) -> None:
        """Put its data, while it is down, back to an older copy: to this fraction of everything it ever wrote."""
        log = self._append_only_file()
        content = log.read_bytes()
        wanted = len(content) * fraction
        # Not in mid-transaction: what Redis 6.2 keeps of a torn one is mixed into the next, at the start after next.
        with log.open("r+b") as file:
            file.truncate(max(end for end in _whole_until(content) if end <= wanted))

    def fill_disk(self) -> None:
        """Let its append-only file grow no further."""
        assert self._process is not None
        self._process.limit_files(self._append_only_file().stat().st_size)

    def free_disk(self) -> None:
        """Let it write again."""
        assert self._process is not None
        self._process.limit_files(None)

    def writes(self) -> bool:
        """Whether it takes writes again, after its disk was full."""
        try:
            return bool(self.client.set("probe", "1"))
        except (redis.exceptions.RedisError, OSError):
            return False

    def _append_only_file(self) -> Path:
        several = sorted((self._folder / "appendonlydir").glob("*.incr.aof"))  # from Redis 7 on
        return several[-1] if several else self._folder / "appendonly.aof"


def _whole_until(content: bytes) -> Iterator[int]:
    """Yield the places in an append-only file up to which it is whole: between commands, outside of transactions."""
    at, inside = 0, False
    yield 0
    while at < len(content):
        end = content.index(b"\r\n", at)
        count, at = int(content[at + 1 : end]), end + 2
        for number in range(count):
            end = content.index(b"\r\n", at)
            size = int(content[at + 1 : end])
            if number == 0:
                name = content[end + 2 : end + 2 + size].upper()
                inside = name == b"MULTI" or (inside and name != b"EXEC")
            at = end + 2 + size + 2
        if not inside:
            yield at


class Proxy:
    """A TCP proxy before Redis whose connections can be cut and refused, at once or after the next answer is lost."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._swallowing = False
        self._port = 0
        self.swallowed = 0  # answers that never arrived

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self._port}/0"

    async def start(self) -> None:
        """Listen, at the same port each time."""
        self._swallowing = False
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Cut every connection and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()

    def swallow(self) -> None:
        """Pass requests on, and cut each connection when its next answer comes: nobody knows whether it was done."""
        self._swallowing = True

    async def close(self) -> None:
        """Stop."""
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_unix_connection(str(self._target))
        except OSError:
            writer.transport.abort()
            return
        for end in (writer, up_writer):
            self._open.add(end)
        for source, sink, answers in ((reader, up_writer, False), (up_reader, writer, True)):
            task = asyncio.create_task(self._pump(source, sink, (writer, up_writer), answers=answers))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        both: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
        *,
        answers: bool,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(_CHUNK):
                if answers and self._swallowing:
                    self.swallowed += 1
                    break
                sink.write(data)
                await sink.drain()
        for end in both:
            self._open.discard(end)
            end.transport.abort()
