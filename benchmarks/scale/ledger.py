"""A large queue: thousands of shards in the ledger, many of them leased, a hundred thousand labels on the stream.

For each operation: seconds as its caller sees them, round trips, and the microseconds of its slowest script call.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import redis

from benchmarks.scale.redis_alone import batch_from, own_server, stub_shards
from benchmarks.scale.server import every_call_logged, facts_of, script_times
from xpm_stream.label_queue import CommitBatch, Cursor, LabelQueue, Lease, TrainedLedger

Result = TypeVar("Result")
_PER_COMMIT = 64


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation on the large queue, a few times."""

    name: str
    times: int
    median_ms: float  # as its caller sees it
    worst_ms: float
    round_trips: int  # of one
    script_us: float  # mean of the scripts it runs, inside Redis; 0: too short to be logged, or no script
    longest_script_us: float


class LargeLedger(msgspec.Struct, frozen=True, kw_only=True):
    """What operations cost on a queue of this size."""

    shards: int
    leased: int
    labels: int
    used_bytes: int
    bytes_per_shard: float  # a pending row
    bytes_per_finished_shard: float  # what is left of one when all its labels are acknowledged
    operations: list[Operation]


def measure(*, shards: int = 10_000, few: int = 64, many: int = 1000, labels: int = 100_000) -> LargeLedger:
    """Fill a real Redis, timing the operations of every role on it.

    Args:
        shards: rows of the ledger.
        few: leases when the first acquisitions are timed.
        many: leases from then on.
        labels: on the stream.
    """
    with tempfile.TemporaryDirectory(prefix="xpm-scale-") as temporary, own_server(Path(temporary)) as (queue, client):
        timer = _Timer(queue, client)
        empty = facts_of(client).used_bytes
        timer.take(f"add_shards, {shards:,} shards", lambda: queue.add_shards(stub_shards(shards)), times=1)
        per_shard = (facts_of(client).used_bytes - empty) / shards
        leases = [_acquired(queue) for _ in range(few)]
        timer.take(f"acquire, {few:,} shards leased", lambda: leases.append(_acquired(queue)), times=20)
        leases += [_acquired(queue) for _ in range(many - len(leases))]
        timer.take(f"acquire, {many:,} shards leased", lambda: leases.append(_acquired(queue)), times=20)
        leases = [_filled(queue, lease, labels // len(leases)) for lease in leases]
        used_bytes = facts_of(client).used_bytes
        _time_roles(timer, queue, leases)
        _time_recovery(timer, queue, leases, labels=labels // len(leases))
        finished = _finish(queue, client, leases, empty=empty, bytes_of_row=per_shard)
        return LargeLedger(
            shards=shards, leased=len(leases), labels=labels // len(leases) * len(leases), used_bytes=used_bytes,
            bytes_per_shard=per_shard, bytes_per_finished_shard=finished, operations=timer.operations,
        )  # fmt: skip


class _Timer:
    """Times operations, and counts their round trips."""

    def __init__(self, queue: LabelQueue, client: redis.Redis) -> None:
        self.operations: list[Operation] = []
        self._client = client
        self._round_trips = 0
        edge: Any = queue.edge
        original = edge.call

        def call(operation: Callable[[], Result], *, doing: str) -> Result:
            self._round_trips += 1
            found: Result = original(operation, doing=doing)
            return found

        edge.call = call

    def take(self, name: str, operation: Callable[[], Any], *, times: int) -> None:
        taken = []
        self._round_trips = 0
        with every_call_logged(self._client):
            for _ in range(times):
                started = time.perf_counter()
                operation()
                taken.append(1000 * (time.perf_counter() - started))
            scripts = script_times(self._client)
        calls = sum(one.calls for one in scripts)
        self.operations.append(
            Operation(
                name=name,
                times=times,
                median_ms=statistics.median(taken),
                worst_ms=max(taken),
                round_trips=round(self._round_trips / times),
                script_us=sum(one.calls * one.mean_us for one in scripts) / calls if calls else 0.0,
                longest_script_us=max((one.p99_us for one in scripts), default=0.0),
            )
        )


def _time_roles(timer: _Timer, queue: LabelQueue, leases: list[Lease]) -> None:
    def commit() -> None:
        lease = leases.pop(0)
        leases.append(queue.commit(lease, batch_from(lease, batch=8)))

    timer.take("commit of 8 labels", commit, times=50)
    timer.take("renew", lambda: queue.renew(leases[0]), times=50)
    timer.take("capacity", queue.capacity, times=50)
    timer.take("stats", queue.stats, times=50)
    queue.raise_epoch()
    timer.take("read of 16 labels", lambda: queue.read("rank0", count=16), times=50)


def _time_recovery(timer: _Timer, queue: LabelQueue, leases: list[Lease], *, labels: int) -> None:
    """What a trainer does at its start, and an operator now and then."""
    trained = TrainedLedger()
    timer.take("audit", lambda: _sound(queue, trained), times=1)
    timer.take("settle, nothing to do", lambda: queue.settle(trained), times=1)
    for lease in leases[: len(leases) // 2]:
        for ordinal in range(labels):
            trained.add(lease.shard.sample(ordinal))
    timer.take(f"settle, {len(trained):,} labels to acknowledge", lambda: queue.settle(trained), times=1)


def _sound(queue: LabelQueue, trained: TrainedLedger) -> None:
    report = queue.audit(trained)
    assert report.ok, report.problems()[:3]


def _acquired(queue: LabelQueue) -> Lease:
    lease = queue.acquire("labeler")
    assert lease is not None, "no shard is left"
    return lease


def _filled(queue: LabelQueue, lease: Lease, labels: int) -> Lease:
    for first in range(0, labels, _PER_COMMIT):
        lease = queue.commit(lease, batch_from(lease, batch=min(_PER_COMMIT, labels - first)))
    return lease


def _finish(queue: LabelQueue, client: redis.Redis, leases: list[Lease], *, empty: int, bytes_of_row: float) -> float:
    """Finish what is leased, acknowledge everything; return the bytes that stay of each shard, its bitmap included."""
    for lease in leases:
        at = lease.cursor.ordinal
        queue.commit(lease, CommitBatch(cursor=Cursor(at + 1, 512), skips={"no_nouns": [at]}, finished=True))
    queue.raise_epoch()
    while found := queue.read("rank0", count=1000):
        queue.acknowledge(found)
    assert queue.stats().unacked_labels == 0
    pending = queue.stats().shards_pending
    return (facts_of(client).used_bytes - empty - bytes_of_row * pending) / len(leases)
