"""The labeler's half of the queue: shards, leases, commits, relabel work, backpressure."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from xpm_stream.label_queue.commits import check_cover, encoded, milliseconds, reject_arguments
from xpm_stream.label_queue.deliveries import Capacity
from xpm_stream.label_queue.role import QueueRole
from xpm_stream.label_queue.shards import CommitBatch, Lease, ShardRecord, ShardRow

_CAPACITY_POLL_S = 0.1


class LabelerSide(QueueRole):
    """Shards are taken under a lease; a batch of them is committed whole or not at all."""

    # -- the shard ledger

    def add_shards(self, shards: Iterable[ShardRecord]) -> int:
        """Adds shards to the ledger, in order; known ones are left as they are. Returns how many are new."""
        rows = [
            {
                "key": s.key,
                "url": s.url,
                "shard_id": s.shard_id,
                "pass_index": s.pass_index,
                "size_bytes": s.size_bytes,
                "expected_samples": s.expected_samples,
            }
            for s in shards
        ]
        added = 0
        for first in range(0, len(rows), 500):
            added += int(
                self.edge.run(
                    "add_shards",
                    keys=[self.keys.shards, self.keys.pending, self.keys.meta],
                    arguments={"shards": rows[first : first + 500]},
                    doing="adding shards",
                )
            )
        return added

    def acquire(self, owner: str, *, ttl_s: float | None = None) -> Lease | None:
        """Leases a shard: one whose lease has expired, else the first pending one; none when there is neither.

        One whose leases expired twice without a commit in between comes behind the pending ones, and so does one that
        was put off: neither keeps the others waiting.
        None does not mean done: another labeler's lease may yet expire, and shards may be added. See `stats().drained`.
        """
        ttl = self.config.lease_ttl_s if ttl_s is None else ttl_s
        lease_id = secrets.token_hex(8)
        keys = self.keys
        packed = self.edge.run(
            "acquire",
            keys=[
                keys.shards,
                keys.pending,
                keys.leases,
                keys.meta,
                keys.counters,
                keys.grants,
                keys.grant_deadlines,
            ],
            arguments={"owner": owner, "lease": lease_id, "ttl_ms": milliseconds(ttl)},
            doing="leasing a shard",
        )
        if packed is None:
            return None
        row = msgspec.msgpack.decode(packed, type=ShardRow)
        return Lease(
            shard=row.record,
            owner=owner,
            lease_id=lease_id,
            token=row.token,
            sequence=row.sequence,
            cursor=row.cursor,
            ttl_s=ttl,
            takeovers=row.takeovers,
            tried=row.tried,
        )

    def renew(self, lease: Lease) -> None:
        """Moves the lease's deadline to `ttl_s` from now. Every commit does so too. Any thread may call it.

        Raises:
            LeaseLost: it has expired, or the shard is another's.
        """
        self._lease_script("renew", lease, doing="renewing a lease")

    def release(self, lease: Lease) -> None:
        """Gives the shard back at once, at its old place in the order. Repeating it is harmless."""
        if not lease.finished:
            self._lease_script("release", lease, doing="releasing a shard")

    def fail_shard(self, lease: Lease, *, reason: str, waits_s: Sequence[float] = ()) -> bool:
        """Books that a shard cannot be read now, and why; returns whether it failed, or is only put off.

        It is put off as often as there are waits since its last commit, for the next of these many seconds, and then
        comes behind what is pending. After that it has failed, and is out of the order until `retry_shards`.

        Raises:
            LeaseLost: it has expired, or the shard is another's.
        """
        waits_ms = [milliseconds(wait_s) for wait_s in waits_s]
        return bool(self._lease_script("fail_shard", lease, doing="failing a shard", reason=reason, waits_ms=waits_ms))

    def try_sample(self, lease: Lease) -> Lease:
        """Books that the sample at the lease's cursor is now tried alone, before it is read, and renews the lease.

        A commit forgets it; if the labeler dies instead, the next lease's `tried` says so.

        Raises:
            LeaseLost: it has expired, or the shard is another's.
        """
        self._lease_script("try_sample", lease, doing="booking a trial", tried=lease.tried + 1)
        return replace(lease, tried=lease.tried + 1)

    def retry_shards(self, shard_keys: Sequence[str] | None = None) -> int:
        """Puts failed shards (all, or those with these keys) back in the order. Returns how many."""
        return int(
            self.edge.run(
                "retry_shards",
                keys=[self.keys.shards, self.keys.pending, self.keys.failed],
                arguments={"shards": None if shard_keys is None else list(shard_keys)},
                doing="retrying shards",
            )
        )

    def _lease_script(self, name: str, lease: Lease, *, doing: str, **more: Any) -> Any:
        keys = self.keys
        return self.edge.run(
            name,
            keys=[keys.shards, keys.leases, keys.pending, keys.failed],
            arguments={
                "shard": lease.shard.key,
                "lease": lease.lease_id,
                "token": lease.token,
                "ttl_ms": milliseconds(lease.ttl_s),
                **more,
            },
            doing=doing,
        )

    # -- commit

    def commit(self, lease: Lease, batch: CommitBatch) -> Lease:
        """Writes what became of a batch of samples: labels, skips, rejects, cursor and lease in one atomic step.

        Repeated after a cut connection it writes nothing twice. Returns the lease to go on with.

        Raises:
            LeaseLost: the lease has expired or the shard is another's; nothing was written: drop the batch.
            ValueError: the batch does not account for each sample of [lease.cursor, batch.cursor) exactly once.
        """
        labels = [encoded(label) for label in batch.labels]
        check_cover(lease, batch, labels)
        keys = self.keys
        key = lease.shard.key
        self.edge.run(
            "commit",
            keys=[
                keys.shards,
                keys.leases,
                keys.labels,
                keys.counters,
                keys.dead,
                keys.skipped_bits(key),
                keys.dead_bits(key),
            ],
            arguments={
                "shard": key,
                "lease": lease.lease_id,
                "token": lease.token,
                "sequence": lease.sequence,
                "start": lease.cursor.ordinal,
                "ordinal": batch.cursor.ordinal,
                "byte_offset": batch.cursor.byte_offset,
                "finished": batch.finished,
                "note": batch.note,
                "ttl_ms": milliseconds(lease.ttl_s),
                "labels": [str(label.sample) for label in labels],
                "sizes": [len(label.data) for label in labels],
                "skips": [[reason, list(ordinals)] for reason, ordinals in batch.skips.items()],
                "rejects": [reject_arguments(lease.shard, reject) for reject in batch.rejects],
            },
            messages=[label.data for label in labels],
            doing="committing labels",
        )
        return Lease(
            shard=lease.shard,
            owner=lease.owner,
            lease_id=lease.lease_id,
            token=lease.token,
            sequence=lease.sequence + 1,
            cursor=batch.cursor,
            ttl_s=lease.ttl_s,
            finished=batch.finished,
        )

    # -- backpressure

    def capacity(self) -> Capacity:
        """What the budget on unacknowledged labels (relabel work included) still allows."""
        keys = self.keys

        def fill(pipe: Any) -> None:
            pipe.xlen(keys.labels)
            pipe.hlen(keys.relabels)
            pipe.hmget(keys.counters, ["bytes", "relabel_bytes"])

        labels, relabels, (label_bytes, relabel_bytes) = self.edge.pipeline(fill, doing="asking for capacity")
        return Capacity(
            labels_left=self.config.max_unacked_labels - int(labels) - int(relabels),
            bytes_left=self._max_unacked_bytes - int(label_bytes or 0) - int(relabel_bytes or 0),
        )

    def wait_for_capacity(
        self,
        stop: threading.Event,
        *,
        timeout_s: float | None = None,
        on_wait: Callable[[Capacity], None] | None = None,
    ) -> bool:
        """Waits until another batch may be labelled; False when stopped or timed out before.

        `on_wait` is called at each look that finds no room, about ten times a second; what it raises ends the wait.
        N labelers may overdraw the budget by N batches; relabel work needs no capacity, it only moves.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        while not stop.is_set():
            capacity = self.capacity()
            if capacity.available:
                return True
            if deadline_s is not None and time.monotonic() >= deadline_s:
                return False
            if on_wait is not None:
                on_wait(capacity)
            stop.wait(_CAPACITY_POLL_S)
        return False
