"""Relabel work: samples whose labels grew stale go back to the labelers, under a lease like shards do."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from xpm_stream.errors import LeaseLost, MessageError
from xpm_stream.label_queue.codec import decode
from xpm_stream.label_queue.commits import bounded, encoded, milliseconds, place_of
from xpm_stream.label_queue.deliveries import RelabelLease, RelabelReject, RelabelWork
from xpm_stream.label_queue.keys import parse_sample, shard_key
from xpm_stream.label_queue.role import QueueRole
from xpm_stream.label_queue.shards import EncodedLabel, ShardRow
from xpm_stream.records import LabelMessage, SampleId

_SUSPECT_AFTER: Final = 2  # leases that ran out: two of them may be a coincidence, and cost nothing to find out


class Relabeling(QueueRole):
    """Taking and committing relabel work; the trainer's `give_back` makes it."""

    def take_relabels(self, owner: str, *, count: int, ttl_s: float | None = None) -> RelabelLease | None:
        """Leases up to `count` samples that must be labelled again; none when there are none.

        Labelers take these before new shards. A sample whose leases ran out again and again may kill its labelers: it
        is leased alone, and booked as tried before the caller touches it (`RelabelWork.tried`).
        """
        ttl = self.config.lease_ttl_s if ttl_s is None else ttl_s
        lease_id = secrets.token_hex(8)
        keys = self.keys
        rows = self.edge.run(
            "take_relabels",
            keys=[
                keys.relabels,
                keys.relabel_queue,
                keys.relabel_leases,
                keys.shards,
                keys.relabel_troubles,
                keys.grants,
                keys.grant_deadlines,
            ],
            arguments={
                "owner": owner,
                "lease": lease_id,
                "ttl_ms": milliseconds(ttl),
                "count": count,
                "suspect_after": _SUSPECT_AFTER,
            },
            doing="leasing relabel work",
        )
        if not rows:
            return None
        return RelabelLease(lease_id=lease_id, owner=owner, ttl_s=ttl, work=tuple(_relabel_work(row) for row in rows))

    def renew_relabels(self, lease: RelabelLease) -> None:
        """Moves the lease's deadline to `ttl_s` from now. Any thread may call it.

        Raises:
            LeaseLost: none of its samples is held any more.
        """
        keys = self.keys
        held = self.edge.run(
            "renew_relabels",
            keys=[keys.relabel_queue, keys.relabel_leases],
            arguments={
                "lease": lease.lease_id,
                "samples": [str(work.sample) for work in lease.work],
                "ttl_ms": milliseconds(lease.ttl_s),
            },
            doing="renewing relabel work",
        )
        if not held:
            raise LeaseLost(f"the lease on {len(lease.work)} samples to be labelled again is over; drop the batch")

    def commit_relabels(
        self,
        lease: RelabelLease,
        *,
        labels: Sequence[LabelMessage | EncodedLabel] = (),
        skips: Mapping[str, Sequence[SampleId]] | None = None,
        rejects: Sequence[RelabelReject] = (),
        later: Mapping[SampleId, float] | None = None,
    ) -> int:
        """Moves relabelled samples back to the stream (or to the skipped or the dead), atomically.

        Samples whose lease has expired meanwhile are another labeler's and are dropped, which harms nobody. Those of
        `later` could not be had now: they stay, free again in so many seconds, with one more of their `attempts`.
        Returns how many were moved now; a repeat moves none.

        Raises:
            ValueError: a sample is not part of the lease, or named twice.
        """
        written = [encoded(label) for label in labels]
        items: list[dict[str, Any]] = [
            {"kind": "label", "sample": label.sample, "size": len(label.data)} for label in written
        ]
        items += [
            {"kind": "skip", "sample": sample, "reason": reason}
            for reason, samples in (skips or {}).items()
            for sample in samples
        ]
        places = {work.sample: work.shard.url if work.shard else "" for work in lease.work}
        for entry in rejects:
            reject = entry.reject
            items.append(
                {
                    "kind": "dead",
                    "sample": entry.sample,
                    "reason": reject.reason,
                    "detail": bounded(reject.detail),
                    "place": place_of(places.get(entry.sample, ""), reject.byte_offset),
                    "attempts": reject.attempts,
                }
            )
        items += [
            {"kind": "later", "sample": sample, "after_ms": milliseconds(after_s)}
            for sample, after_s in (later or {}).items()
        ]
        named = [item["sample"] for item in items]
        if len(set(named)) != len(named) or not set(named) <= places.keys():
            raise ValueError("a relabel commit names each sample once, and only samples of its lease")
        return self._move_relabels(lease, items, [label.data for label in written])

    def _move_relabels(self, lease: RelabelLease, items: list[dict[str, Any]], messages: list[bytes]) -> int:
        keys = self.keys
        names = [
            keys.labels,
            keys.relabels,
            keys.relabel_queue,
            keys.relabel_leases,
            keys.relabel_troubles,
            keys.counters,
            keys.dead,
            keys.shards,
        ]
        for item in items:
            sample: SampleId = item["sample"]
            item["shard"], item["ordinal"], item["sample"] = shard_key(sample), sample.ordinal, str(sample)
            if item["kind"] in ("skip", "dead"):
                bits = keys.skipped_bits if item["kind"] == "skip" else keys.dead_bits
                names.append(bits(item["shard"]))
                item["bits"] = len(names)  # Lua counts from 1
        return int(
            self.edge.run(
                "commit_relabels",
                keys=names,
                arguments={"lease": lease.lease_id, "items": items},
                messages=messages,
                doing="committing relabelled samples",
            )
        )


def _relabel_work(row: Sequence[Any]) -> RelabelWork:
    """One row of take_relabels.lua: sample, message, relabels, reason, row of the shard, attempts, tried."""
    name, data, relabels, reason, shard, attempts, tried = row
    sample = parse_sample(bytes(name))
    assert sample is not None, f"relabel work has a name we never wrote: {name!r}"
    message: LabelMessage | None = None
    if data:
        try:
            message = decode(bytes(data))
        except MessageError:
            message = None  # the sample is read from its shard again, also when a newer release wrote the message
    return RelabelWork(
        sample=sample,
        shard=msgspec.msgpack.decode(shard, type=ShardRow).record if shard else None,
        message=message,
        relabels=int(relabels),
        reason=bytes(reason).decode("utf-8"),
        attempts=int(attempts),
        tried=int(tried),
    )
