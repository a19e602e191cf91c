"""The audit: for every shard, samples = trained + queued + skipped (by reason) + dead."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from xpm_stream.label_queue.ranges import OrdinalRanges
from xpm_stream.label_queue.shards import ShardRow
from xpm_stream.label_queue.trained import TrainedLedger


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardPlaces:
    """Where the samples of one shard are, as Redis says."""

    row: ShardRow
    queued: OrdinalRanges  # on the stream
    relabels: OrdinalRanges
    skipped: OrdinalRanges
    dead: OrdinalRanges
    doubled: OrdinalRanges  # on the stream twice, or on the stream and relabel work

    def union(self, other: ShardPlaces) -> ShardPlaces:
        """Two looks at one shard together."""
        if self == other:
            return self
        return ShardPlaces(
            row=self.row,
            queued=self.queued.union(other.queued),
            relabels=self.relabels.union(other.relabels),
            skipped=self.skipped.union(other.skipped),
            dead=self.dead.union(other.dead),
            doubled=self.doubled.union(other.doubled),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """One shard's account. Each sample counts in the first of: trained, queued, relabels, dead, skipped."""

    shard_key: str
    url: str
    state: str
    samples: int  # committed so far: the ordinals [0, samples)
    trained: int
    queued: int
    relabels: int
    skipped: int
    dead: int
    missing: OrdinalRanges  # nowhere: lost
    doubled: OrdinalRanges  # twice on the queue
    unsettled: int = 0  # trained, and still on the queue: acknowledged after the checkpoint, or at the next start
    ahead: int = 0  # trained beyond the cursor: Redis is older than the checkpoint; will be labelled again and skipped
    never_readable: int = 0  # counted by the shard's writer, but not in the tar that was read to its end
    skipped_by_reason: dict[str, int] = field(default_factory=dict)
    dead_by_reason: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the account adds up."""
        return not self.missing and not self.doubled


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """The account of every shard."""

    rows: tuple[AuditRow, ...]
    unidentified: int  # entries of the stream that name no sample: the trainer moves them to the dead letters
    unknown_trained: int  # trained samples of shards Redis does not know (an empty or older Redis)
    in_motion: bool = False  # samples moved during every look: whether any is on the queue twice cannot be said

    @property
    def missing(self) -> int:
        """Samples that are nowhere."""
        return sum(len(row.missing) for row in self.rows)

    @property
    def doubled(self) -> int:
        """Samples that are on the queue more than once."""
        return sum(len(row.doubled) for row in self.rows)

    @property
    def ok(self) -> bool:
        """Whether everything adds up."""
        return not (self.missing or self.doubled)

    def problems(self) -> list[str]:
        """One sentence for each shard that does not add up."""
        found = []
        for row in self.rows:
            if row.missing:
                found.append(f"shard {row.url} (pass:id {row.shard_key}): missing samples {row.missing}")
            if row.doubled:
                found.append(f"shard {row.url} (pass:id {row.shard_key}): samples on the queue twice {row.doubled}")
        return found

    def totals(self) -> dict[str, int]:
        """Sums over all shards, for a summary."""
        names = ("samples", "trained", "queued", "relabels", "skipped", "dead", "unsettled", "ahead", "never_readable")
        sums = {name: sum(getattr(row, name) for row in self.rows) for name in names}
        return {**sums, "missing": self.missing, "doubled": self.doubled}


def missing_ordinals(places: ShardPlaces, trained: OrdinalRanges) -> OrdinalRanges:
    """Committed samples that are in no place at all."""
    somewhere = trained
    for place in (places.skipped, places.dead, places.queued, places.relabels):
        if place:
            somewhere = somewhere.union(place)
    return OrdinalRanges([(0, places.row.ordinal)]).difference(somewhere)


def audit_shard(places: ShardPlaces, trained: OrdinalRanges, *, in_motion: bool = False) -> AuditRow:
    """The account of one shard."""
    row = places.row
    committed = OrdinalRanges([(0, row.ordinal)])
    stream, relabels = places.queued, places.relabels
    trained_here = trained.intersection(committed)
    queued_here = stream.difference(trained)
    relabels_here = relabels.difference(trained).difference(stream)
    taken = trained.union(stream).union(relabels)
    dead_here = places.dead.difference(taken)
    return AuditRow(
        shard_key=row.key,
        url=row.url,
        state=row.state,
        samples=row.ordinal,
        trained=len(trained_here),
        queued=len(queued_here),
        relabels=len(relabels_here),
        dead=len(dead_here),
        skipped=len(places.skipped.difference(taken.union(places.dead))),
        missing=missing_ordinals(places, trained),
        doubled=OrdinalRanges() if in_motion else places.doubled,
        unsettled=len(trained.intersection(stream.union(relabels))),
        ahead=len(trained) - len(trained_here),
        never_readable=row.never_readable,
        skipped_by_reason=dict(row.skipped),
        dead_by_reason=dict(row.dead),
    )


def audit_shards(
    places: Iterable[ShardPlaces], trained: TrainedLedger, *, unidentified: int, in_motion: bool = False
) -> AuditReport:
    """The account of every shard, in the order of adding."""
    ordered = sorted(places, key=lambda one: one.row.order)
    rows = tuple(
        audit_shard(one, trained.ordinals(one.row.pass_index, one.row.shard_id), in_motion=in_motion) for one in ordered
    )
    known = {(one.row.pass_index, one.row.shard_id) for one in ordered}
    unknown = sum(len(trained.ordinals(*key)) for key in trained.shards() if key not in known)
    return AuditReport(rows=rows, unidentified=unidentified, unknown_trained=unknown, in_motion=in_motion)
