"""The shard ledger's words: shards, cursors, leases, and what a labeler commits."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

from xpm_stream.records import LabelMessage, SampleId, ShardId

ShardState = Literal["pending", "leased", "finished", "failed"]

# A shard id is part of key names and of `pass:shard:ordinal`, so it holds no colon and no brace.
_SHARD_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")


class Cursor(msgspec.Struct, frozen=True, order=True):
    """How far a shard has been committed: the next sample to read, and where it starts in the tar."""

    ordinal: int = 0  # 0-based place of the next sample
    byte_offset: int = 0  # bytes from the start of the (uncompressed) tar to its first header


class ShardRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A shard to be labelled once in one pass."""

    url: str
    shard_id: ShardId  # hash of URL + size/etag: a rewritten shard is a new shard
    size_bytes: int | None = None
    pass_index: int = 0
    expected_samples: int | None = None  # what its writer says it holds; none: the writer does not say

    def __post_init__(self) -> None:
        if not _SHARD_ID.fullmatch(self.shard_id):
            raise ValueError(f"shard id {self.shard_id!r} of {self.url} must be 1-128 of A-Z a-z 0-9 _ . -")
        if self.pass_index < 0:
            raise ValueError(f"pass_index of {self.url} is {self.pass_index}; it counts from 0")

    @property
    def key(self) -> str:
        """`pass:shard_id`, the shard's name in the ledger."""
        return f"{self.pass_index}:{self.shard_id}"

    def sample(self, ordinal: int) -> SampleId:
        """The identity of the sample at `ordinal` of this shard in this pass."""
        return SampleId(self.pass_index, self.shard_id, ordinal)


class ShardRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the shard ledger, as Redis holds it."""

    url: str
    shard_id: ShardId
    pass_index: int
    state: ShardState
    order: int  # place in the order of adding
    added_ms: int  # Redis time
    size_bytes: int | None = None
    expected_samples: int | None = None  # what its writer says it holds
    ordinal: int = 0  # cursor: samples [0, ordinal) are committed
    byte_offset: int = 0
    sequence: int = 0  # commits so far, over all leases
    labels: int = 0  # labels written to the stream from the shard's own commits
    skipped: dict[str, int] = {}  # samples by reason
    dead: dict[str, int] = {}
    owner: str | None = None
    lease: str | None = None
    token: int = 0
    committed_lease: str | None = None  # the lease that made commit number `sequence`
    expires_ms: int | None = None
    takeovers: int = 0  # leases that ended without a commit since the cursor last moved
    tried: int = 0  # how often the sample at the cursor was tried alone, without a commit
    put_off: int = 0  # how often its store did not answer, since the last commit
    finished_ms: int | None = None
    note: str | None = None  # why a shard ended early or failed

    @property
    def key(self) -> str:
        """`pass:shard_id`, the shard's name in the ledger."""
        return f"{self.pass_index}:{self.shard_id}"

    @property
    def cursor(self) -> Cursor:
        """Where the next labeler of this shard goes on."""
        return Cursor(self.ordinal, self.byte_offset)

    @property
    def record(self) -> ShardRecord:
        """The shard itself, without its state."""
        return ShardRecord(
            url=self.url,
            shard_id=self.shard_id,
            size_bytes=self.size_bytes,
            pass_index=self.pass_index,
            expected_samples=self.expected_samples,
        )

    @property
    def never_readable(self) -> int:
        """Samples that its writer counted and that a finished shard did not give."""
        if self.state != "finished" or self.expected_samples is None:
            return 0
        return max(0, self.expected_samples - self.ordinal)

    @property
    def damage(self) -> str | None:
        """Why a shard failed or ended before its time, for people; none: nothing is known to be wrong with it."""
        short = f"{self.ordinal} of {self.expected_samples} samples" if self.never_readable else None
        if self.note is None:
            return f"truncated: {short}" if short else None
        return f"{self.note} ({short})" if short else self.note


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishMark:
    """What a trainer that has left for good says of its end."""

    checkpoint: str  # its last durable one; empty: it never made any
    step: int  # optimiser steps of that checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusProgress:
    """What a labeler must know to see whether the run is over."""

    shards: int  # in the ledger, whatever their state
    shards_finished: int
    shards_failed: int
    watched: int  # patterns that `shards watch` put there
    drained: bool  # every shard known so far is finished and no label waits
    finish: FinishMark | None  # of the last trainer; none: it is at work, or was not told to leave for good


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to commit one shard, until a deadline in Redis time. Each commit returns the lease to go on with."""

    shard: ShardRecord
    owner: str
    lease_id: str  # unguessable name of this lease
    token: int  # fencing token: grows with every lease ever given
    sequence: int  # number of the last commit of this shard
    cursor: Cursor  # where to go on reading
    ttl_s: float
    takeovers: int = 0  # earlier leases that ended at this very cursor without a commit: a hint at a poisonous sample
    tried: int = 0  # how often the sample at the cursor was tried alone, without a commit
    finished: bool = False  # the shard is done; the lease is over


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """A sample that cannot be used and that somebody should look at: it becomes a dead letter."""

    ordinal: int
    reason: str  # short snake_case word of a bounded set (SampleError.reason)
    detail: str = ""  # the error's message
    byte_offset: int | None = None  # where the sample starts in the tar
    attempts: int = 1  # how often it was tried


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedLabel:
    """A label message already encoded with `codec.encode`."""

    sample: SampleId
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitBatch:
    """What became of the samples [lease.cursor.ordinal, cursor.ordinal): each is in exactly one of three places."""

    cursor: Cursor  # the new cursor
    labels: Sequence[LabelMessage | EncodedLabel] = ()
    skips: Mapping[str, Sequence[int]] = field(default_factory=dict)  # reason -> ordinals
    rejects: Sequence[Reject] = ()
    finished: bool = False  # the shard ends here: its samples are [0, cursor.ordinal)
    note: str | None = None  # why it ended before its time (truncated, corrupt), for people
