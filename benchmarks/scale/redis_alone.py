"""Redis alone: what it carries when nothing else costs time.

Commits of many leases are made beforehand, by the real client whose answers are supplied, and then sent over one
connection for each lease, one commit under way on each: as that many labelers would that need no time to label.
"""

from __future__ import annotations

import gc
import selectors
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import redis

from benchmarks.queue_throughput import message
from benchmarks.scale.server import ScriptTime, every_call_logged, facts_of, script_times, share_of_core
from xpm_stream.config.queue_sections import QueueConfig, RedisConfig
from xpm_stream.label_queue import CommitBatch, Cursor, LabelQueue, Lease, ShardRecord, connect, encode, start_or_join
from xpm_stream.label_queue.redis_edge import RedisEdge, _script_text
from xpm_stream.label_queue.shards import EncodedLabel
from xpm_stream.records import ShardId

_SENT: Final = b":1\r\n"  # what a commit that was written answers


class RedisAlone(msgspec.Struct, frozen=True, kw_only=True):
    """How much of commits, reads and acknowledgements one redis-server carried."""

    leases: int
    batch: int  # labels of a commit
    fsync: str
    labels: int
    bytes_per_label: int  # encoded
    commits_per_s: float
    labels_per_s: float
    redis_core: float  # cores of the command thread meanwhile
    answer_p50_ms: float  # with `leases` commits under way at all times
    answer_p99_ms: float
    used_bytes_per_label: float  # memory of Redis for a queued label
    file_bytes_per_label: float  # of its append-only file
    one_commit_p50_ms: float  # one client, nothing else under way: the real LabelQueue.commit
    one_commit_p99_ms: float
    client_us_per_commit: float  # CPU of that client
    read_us_per_label: float  # CPU of Redis to hand them out again, and to acknowledge them
    acknowledge_us_per_label: float
    scripts: list[ScriptTime]


@contextmanager
def own_server(folder: Path, *, fsync: str = "everysec") -> Iterator[tuple[LabelQueue, redis.Redis]]:
    """A real embedded server of our own, a queue on it without budget, and a client."""
    settings = RedisConfig.model_validate({"fsync": fsync})
    unlimited = QueueConfig(max_unacked_labels=10**9, max_unacked_mb=10**6, lease_ttl_s=3600)
    with (
        start_or_join(settings, run_folder=folder) as server,
        redis.Redis.from_url(server.url) as client,
        connect(RedisConfig(url=server.url), unlimited, run_folder=folder) as queue,
    ):
        yield queue, client


def stub_shards(number: int) -> list[ShardRecord]:
    """So many shards that exist in the ledger only."""
    return [
        ShardRecord(url=f"s3://bucket/captions/part-00017/shard-{index:06d}.tar", shard_id=ShardId(f"{index:016x}"))
        for index in range(number)
    ]


def measure(*, leases: int = 64, labels: int = 100_000, batch: int = 8, fsync: str = "everysec") -> RedisAlone:
    """Commit so many labels in batches, over `leases` leases at once, then read and acknowledge them."""
    with tempfile.TemporaryDirectory(prefix="xpm-scale-") as temporary:
        folder = Path(temporary)
        with own_server(folder, fsync=fsync) as (queue, client):
            queue.add_shards(stub_shards(leases + 1))
            held = [lease for _ in range(leases) if (lease := queue.acquire("labeler")) is not None]
            alone = queue.acquire("labeler")
            assert alone is not None
            one, client_us = _one_client(queue, alone, commits=300, batch=batch)
            commits = max(2, labels // leases // batch)
            streams = [_recorded(queue, lease, commits=commits, batch=batch) for lease in held]
            client.config_set("auto-aof-rewrite-percentage", 0)  # a file written anew would say nothing of its growth
            before, file_before = facts_of(client), _file_bytes(client)
            with every_call_logged(client):
                answers = _replay(client, streams)
                after = facts_of(client)
                committing = script_times(client)
            written = leases * commits * batch
            file_bytes = _file_bytes(client) - file_before
            used_bytes = facts_of(client).used_bytes - before.used_bytes
            seconds = after.at_s - before.at_s
            with every_call_logged(client):
                reading = _drain(queue)
                read = script_times(client)
        by_name = {one.name: one for one in read}
        p50, p99 = np.percentile(answers, [50, 99])
        one_p50, one_p99 = np.percentile(one, [50, 99])
        return RedisAlone(
            leases=leases, batch=batch, fsync=fsync, labels=written,
            bytes_per_label=len(encode(message(alone.shard.sample(0)))),
            commits_per_s=leases * commits / seconds, labels_per_s=written / seconds,
            redis_core=share_of_core(before, after),
            answer_p50_ms=1000 * float(p50), answer_p99_ms=1000 * float(p99),
            used_bytes_per_label=used_bytes / written,
            file_bytes_per_label=file_bytes / written,
            one_commit_p50_ms=1000 * float(one_p50), one_commit_p99_ms=1000 * float(one_p99),
            client_us_per_commit=client_us,
            read_us_per_label=by_name["read"].calls * by_name["read"].mean_us / reading,
            acknowledge_us_per_label=by_name["acknowledge"].calls * by_name["acknowledge"].mean_us / reading,
            scripts=[*committing, *read],
        )  # fmt: skip


class _Recorder(RedisEdge):
    """Packs what the real client would send, and says that it was done."""

    def __init__(self, real: RedisEdge) -> None:
        super().__init__(real.client, where=real.where, retry_for_s=0)
        self.sent: list[bytes] = []
        self._pack = real.client.connection_pool.make_connection().pack_command
        self._digests: dict[str, str] = {}

    def run(
        self, name: str, *, keys: Sequence[str], arguments: dict[str, Any], messages: Sequence[bytes] = (), doing: str
    ) -> Any:
        if name not in self._digests:
            self._digests[name] = self.client.script_load(_script_text(name))
        packed = msgspec.msgpack.encode(arguments)
        command = self._pack("EVALSHA", self._digests[name], len(keys), *keys, packed, b"".join(messages))
        self.sent.append(b"".join(command))
        return 1


def batch_from(lease: Lease, *, batch: int, finished: bool = False) -> CommitBatch:
    """The next labels of a lease, encoded."""
    first = lease.cursor.ordinal
    samples = [lease.shard.sample(ordinal) for ordinal in range(first, first + batch)]
    return CommitBatch(
        cursor=Cursor(first + batch, 512 * (first + batch)),
        labels=[EncodedLabel(sample=sample, data=encode(message(sample))) for sample in samples],
        finished=finished,
    )


def _recorded(queue: LabelQueue, lease: Lease, *, commits: int, batch: int) -> list[bytes]:
    recorder = _Recorder(queue.edge)
    recording = LabelQueue(recorder, namespace=queue.keys.namespace, config=queue.config)
    for _ in range(commits):
        lease = recording.commit(lease, batch_from(lease, batch=batch))
    return recorder.sent


def _one_client(queue: LabelQueue, lease: Lease, *, commits: int, batch: int) -> tuple[list[float], float]:
    taken, used_s = [], 0.0
    for _ in range(commits):
        made = batch_from(lease, batch=batch)
        started, cpu = time.perf_counter(), time.process_time()
        lease = queue.commit(lease, made)
        taken.append(time.perf_counter() - started)
        used_s += time.process_time() - cpu
    return taken, 1e6 * used_s / commits


def _replay(client: redis.Redis, streams: Sequence[Sequence[bytes]]) -> list[float]:
    """Send each stream of commands over a connection of its own, the next when the last is answered."""
    connections: list[Any] = [client.connection_pool.make_connection() for _ in streams]
    selector = selectors.DefaultSelector()
    taken: list[float] = []
    gc.disable()
    try:
        under_way: dict[int, tuple[Iterator[bytes], float]] = {}
        for connection, commands in zip(connections, streams, strict=True):
            connection.connect()
            wire: socket.socket = connection._sock
            wire.setblocking(True)
            selector.register(wire, selectors.EVENT_READ, wire)
            waiting = iter(commands)
            under_way[wire.fileno()] = (waiting, time.perf_counter())
            wire.sendall(next(waiting))
        while under_way:
            for key, _ in selector.select():
                wire = key.data
                answer = wire.recv(4096)
                waiting, started = under_way[key.fd]
                now = time.perf_counter()
                taken.append(now - started)
                if answer != _SENT:
                    raise RuntimeError(f"Redis answered a commit with {answer!r}")
                following = next(waiting, None)
                if following is None:
                    selector.unregister(wire)
                    del under_way[key.fd]
                else:
                    under_way[key.fd] = (waiting, now)
                    wire.sendall(following)
    finally:
        gc.enable()
        selector.close()
        for connection in connections:
            connection.disconnect()
    return taken


def _drain(queue: LabelQueue, *, count: int = 16, acknowledged_every: int = 1024) -> int:
    """Read everything and acknowledge it, as a trainer does that needs no time to train."""
    queue.raise_epoch()
    total, held = 0, []
    while found := queue.read("rank0", count=count):
        held += found
        if len(held) >= acknowledged_every:
            total += queue.acknowledge(held)
            held = []
    return total + queue.acknowledge(held)


def _file_bytes(client: redis.Redis) -> int:
    info: Any = client.info("persistence")
    return int(info.get("aof_current_size", 0))
