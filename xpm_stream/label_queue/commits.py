"""From a labeler's words to the arguments of the commit scripts, checked before they leave the process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xpm_stream.errors import LeaseLost
from xpm_stream.label_queue.codec import encode
from xpm_stream.label_queue.ranges import OrdinalRanges
from xpm_stream.label_queue.shards import CommitBatch, EncodedLabel, Lease, Reject, ShardRecord
from xpm_stream.records import LabelMessage

_LONGEST_DETAIL = 2000  # characters of an error message kept in a dead letter


def milliseconds(seconds: float) -> int:
    """Whole milliseconds, at least one."""
    return max(1, round(seconds * 1000))


def bounded(detail: str) -> str:
    """An error message cut to what a dead letter keeps."""
    return detail[:_LONGEST_DETAIL]


def place_of(url: str, byte_offset: int | None) -> str:
    """Where a sample is, for people: `url@byte_offset`."""
    return url if byte_offset is None else f"{url}@{byte_offset}"


def encoded(label: LabelMessage | EncodedLabel) -> EncodedLabel:
    """The label, encoded if it is not yet."""
    if isinstance(label, EncodedLabel):
        return label
    return EncodedLabel(sample=label.sample, data=encode(label))


def reject_arguments(shard: ShardRecord, reject: Reject) -> dict[str, Any]:
    """A reject as the scripts want it."""
    return {
        "ordinal": reject.ordinal,
        "sample": str(shard.sample(reject.ordinal)),
        "reason": reject.reason,
        "detail": bounded(reject.detail),
        "place": place_of(shard.url, reject.byte_offset),
        "attempts": reject.attempts,
    }


def check_cover(lease: Lease, batch: CommitBatch, labels: Sequence[EncodedLabel]) -> None:
    """Checks that a batch accounts for each sample it passes exactly once.

    Raises:
        LeaseLost: the lease ended with the shard.
        ValueError: a sample in no place would be lost, one in two places doubled: neither reaches Redis.
    """
    if lease.finished:
        raise LeaseLost(f"shard {lease.shard.url} is finished; its lease is over")
    start, stop = lease.cursor.ordinal, batch.cursor.ordinal
    ordinals = [label.sample.ordinal for label in labels]
    ordinals += [ordinal for skipped in batch.skips.values() for ordinal in skipped]
    ordinals += [reject.ordinal for reject in batch.rejects]
    shard = (lease.shard.pass_index, lease.shard.shard_id)
    if any((label.sample.pass_index, label.sample.shard_id) != shard for label in labels):
        raise ValueError(f"a commit to shard {lease.shard.key} holds a label of another shard or pass")
    ordinals.sort()
    if ordinals != list(range(start, stop)) or stop < start:
        raise ValueError(
            f"a commit to shard {lease.shard.key} moves its cursor from {start} to {stop} "
            f"but accounts for {len(ordinals)} samples ({OrdinalRanges.of(ordinals)}): "
            "each must be labelled, skipped or rejected exactly once"
        )
