"""The label stream's words: deliveries, relabel work, dead letters, budgets and counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from xpm_stream.errors import MessageError
from xpm_stream.label_queue.shards import Reject, ShardRecord
from xpm_stream.records import LabelMessage, SampleId

# Handed out this often without an acknowledgement, a label may be what kills the trainers.
SUSPECT_AFTER: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One entry of the label stream, handed to one trainer rank; pending until acknowledged, given back or dead."""

    entry_id: str
    sample: SampleId | None  # none: the entry does not even say which sample it is
    message: LabelMessage | MessageError
    size_bytes: int  # of the encoded message
    deliveries: int  # how often it was handed out, this time included; grows with every restart of the trainer
    attempts: int  # how often a trainer reported that it failed (`fail`)
    relabels: int  # how often the sample has been relabelled
    tried: int = 0  # how often it was tried alone (`try_alone`) and the trainer did not survive it
    passed: int = 0  # the delivery at which it was tried alone and trained; 0: never

    @property
    def suspect(self) -> bool:
        """Whether so many trainers died with it that it must be tried alone."""
        return self.deliveries - self.passed >= SUSPECT_AFTER


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What the budget on unacknowledged labels still allows; negative when overdrawn."""

    labels_left: int
    bytes_left: int

    @property
    def available(self) -> bool:
        """Whether a labeler may label another batch."""
        return self.labels_left > 0 and self.bytes_left > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RelabelWork:
    """A sample that has to be labelled again, leased to one labeler."""

    sample: SampleId
    shard: ShardRecord | None  # none: Redis does not know the shard (any more)
    message: LabelMessage | None  # the old label: image payload, words, key. None: read the sample from its shard
    relabels: int  # how often it will have been relabelled after this time
    reason: str
    attempts: int = 0  # how often it was put off because its image could not be had
    tried: int = 0  # how often it was leased alone, this time included, because its labelers kept dying


@dataclass(frozen=True, slots=True, kw_only=True)
class RelabelLease:
    """The right to commit some relabel work, until a deadline in Redis time."""

    lease_id: str
    owner: str
    ttl_s: float
    work: tuple[RelabelWork, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RelabelReject:
    """A leased sample that cannot be relabelled: it becomes a dead letter."""

    sample: SampleId
    reject: Reject


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveBack:
    """What became of deliveries that were given back for relabelling."""

    moved: int  # now relabel work
    exhausted: tuple[Delivery, ...]  # relabelled `max_relabels` times already: still pending; train or dead-letter them


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What bringing Redis in line with a checkpoint changed."""

    acknowledged: int  # labels the checkpoint had already trained: deleted
    returned: int  # samples neither Redis nor the checkpoint had: to be labelled again


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A sample or message that was given up, with its reason and place."""

    letter_id: str
    sample: SampleId | None
    reason: str
    detail: str
    place: str  # shard URL and byte offset, or stream entry
    side: Literal["labeler", "trainer"]
    attempts: int
    died_at_s: float  # Unix time by Redis' clock
    message_bytes: int  # of the encoded label kept with it (`dead_message`); 0: there is none
    relabels: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStats:
    """Counts for metrics and for people; each is exact, together they are one moment's only approximately."""

    unacked_labels: int  # on the stream: never delivered, or delivered and not yet acknowledged
    delivered_labels: int  # of these, with a trainer
    unacked_bytes: int  # encoded messages on the stream
    oldest_label_age_s: float | None
    relabels: int  # samples waiting to be relabelled, leased ones included
    relabel_bytes: int
    dead_letters: int  # letters kept (purged ones are not)
    shards_pending: int
    shards_leased: int
    shards_finished: int
    shards_failed: int
    lease_expiries: int  # since the namespace began
    labels_committed: int  # labels ever written by labelers, relabels included
    labels_acknowledged: int
    skipped: dict[str, int] = field(default_factory=dict)  # samples by reason
    dead: dict[str, int] = field(default_factory=dict)
    watched: int = 0  # patterns that `shards watch` put there
    epoch: int = 0

    @property
    def drained(self) -> bool:
        """Every shard known so far is finished and no label waits: only new shards bring work."""
        return not (self.unacked_labels or self.relabels or self.shards_pending or self.shards_leased)
