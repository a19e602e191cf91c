"""Looking at the queue: counts for metrics, the shard ledger's rows, the stream's entries. Nothing here writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import redis.exceptions

from xpm_stream.label_queue.deliveries import QueueStats
from xpm_stream.label_queue.keys import GROUP, parse_sample
from xpm_stream.label_queue.role import QueueRole
from xpm_stream.label_queue.shards import CorpusProgress, FinishMark, ShardRecord, ShardRow
from xpm_stream.records import SampleId

_PAGE = 500
_ENTRIES_AT_ONCE = 100  # the script sees whole messages, images included: few enough not to hold up others


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEntry:
    """What the audit needs of one entry of the label stream."""

    entry_id: str
    sample: SampleId | None
    size_bytes: int


class Inspection(QueueRole):
    """Counts, rows and entries."""

    def ping(self) -> bool:
        """Whether Redis answers right now; asked once, without waiting for one that is away."""
        try:
            return bool(self.edge.client.ping())
        except (redis.exceptions.RedisError, OSError):
            return False

    def stats(self) -> QueueStats:
        """Counts for metrics: one round trip, whatever the queue's size."""
        keys = self.keys

        def fill(pipe: Any) -> None:
            pipe.xlen(keys.labels)
            pipe.zcard(keys.pending)
            pipe.zcard(keys.leases)
            pipe.zcard(keys.failed)
            pipe.hlen(keys.shards)
            pipe.hlen(keys.relabels)
            pipe.xlen(keys.dead)
            pipe.hgetall(keys.counters)
            pipe.hget(keys.meta, "epoch")
            pipe.hlen(keys.watched)

        labels, pending, leased, failed, shards, relabels, dead, counters, epoch, watched = self.edge.pipeline(
            fill, doing="counting the queue"
        )
        count = {bytes(name).decode("utf-8"): int(value) for name, value in counters.items()}
        oldest_age_s, delivered = self._oldest_and_delivered()
        return QueueStats(
            unacked_labels=int(labels),
            delivered_labels=delivered,
            unacked_bytes=count.get("bytes", 0),
            oldest_label_age_s=oldest_age_s,
            relabels=int(relabels),
            relabel_bytes=count.get("relabel_bytes", 0),
            dead_letters=int(dead),
            shards_pending=int(pending),
            shards_leased=int(leased),
            shards_finished=int(shards) - int(pending) - int(leased) - int(failed),
            shards_failed=int(failed),
            lease_expiries=count.get("lease_expiries", 0),
            labels_committed=count.get("labels", 0),
            labels_acknowledged=count.get("acknowledged", 0),
            skipped=_by_reason(count, "skipped."),
            dead=_by_reason(count, "dead."),
            watched=int(watched),
            epoch=int(epoch or 0),
        )

    def corpus_progress(self) -> CorpusProgress:
        """Whether anything is left to do: all of `stats` that a labeler's rights allow, and all that it needs."""
        keys = self.keys

        def fill(pipe: Any) -> None:
            pipe.xlen(keys.labels)
            pipe.hlen(keys.relabels)
            pipe.zcard(keys.pending)
            pipe.zcard(keys.leases)
            pipe.zcard(keys.failed)
            pipe.hlen(keys.shards)
            pipe.hlen(keys.watched)
            pipe.hget(keys.meta, "finished")

        *counts, mark = self.edge.pipeline(fill, doing="looking for what is left")
        labels, relabels, pending, leased, failed, shards, watched = map(int, counts)
        return CorpusProgress(
            shards=shards,
            shards_finished=shards - pending - leased - failed,
            shards_failed=failed,
            watched=watched,
            drained=not (labels or relabels or pending or leased),
            finish=None if mark is None else _finish_mark(mark),
        )

    def _oldest_and_delivered(self) -> tuple[float | None, int]:
        first, now_ms, delivered = self.edge.run(
            "oldest", keys=[self.keys.labels], arguments={"group": GROUP}, doing="looking at the oldest label"
        )
        if not first:
            return None, int(delivered)
        age_ms = int(now_ms) - int(bytes(first).partition(b"-")[0])
        return max(0, age_ms) / 1000, int(delivered)

    def shard_rows(self) -> Iterator[ShardRow]:
        """Every row of the shard ledger, in no particular order; a shard added meanwhile may be missing."""
        seen: set[bytes] = set()
        cursor = 0
        while True:
            cursor, page = self.edge.command(
                "hscan", self.keys.shards, cursor=cursor, count=_PAGE, doing="listing shards"
            )
            for name, packed in page.items():
                if name not in seen:
                    seen.add(name)
                    yield msgspec.msgpack.decode(packed, type=ShardRow)
            if not cursor:
                return

    def shard_row(self, shard_key: str) -> ShardRow | None:
        """One row of the shard ledger, by `pass:shard_id`; none when Redis does not know the shard."""
        packed = self.edge.command("hget", self.keys.shards, shard_key, doing="looking up a shard")
        return None if packed is None else msgspec.msgpack.decode(packed, type=ShardRow)

    def unknown_shards(self, shards: Sequence[ShardRecord]) -> list[ShardRecord]:
        """Those of the shards that are not in the ledger, in their order."""
        unknown = []
        for first in range(0, len(shards), _PAGE):
            part = shards[first : first + _PAGE]

            def fill(pipe: Any, part: Sequence[ShardRecord] = part) -> None:
                for shard in part:
                    pipe.hexists(self.keys.shards, shard.key)

            known = self.edge.pipeline(fill, doing="comparing shards")
            unknown += [shard for shard, there in zip(part, known, strict=True) if not there]
        return unknown

    def redis_time_s(self) -> float:
        """Unix time by Redis' clock, by which leases end."""
        seconds, microseconds = self.edge.command("time", doing="asking for the time")
        return int(seconds) + int(microseconds) / 1e6

    def entries(self) -> Iterator[StreamEntry]:
        """Every entry of the label stream, oldest first, without its message."""
        after = "-"
        while page := self.edge.run(
            "entries",
            keys=[self.keys.labels],
            arguments={"after": after, "count": _ENTRIES_AT_ONCE},
            doing="listing labels",
        ):
            for entry_id, sample, size in page:
                after = f"({bytes(entry_id).decode('ascii')}"
                yield StreamEntry(entry_id=after[1:], sample=parse_sample(bytes(sample)), size_bytes=int(size))


def _finish_mark(mark: bytes) -> FinishMark:
    step, _, checkpoint = mark.decode("ascii").partition(" ")
    return FinishMark(checkpoint=checkpoint, step=int(step))


def _by_reason(count: dict[str, int], prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): number for name, number in count.items() if name.startswith(prefix) and number}
