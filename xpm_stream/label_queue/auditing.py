"""Finding where every sample is while labelers, trainer and operators move them, and the audit. Nothing here writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from xpm_stream.label_queue.audit import AuditReport, ShardPlaces, audit_shards
from xpm_stream.label_queue.inspection import Inspection, StreamEntry
from xpm_stream.label_queue.keys import parse_sample, shard_key
from xpm_stream.label_queue.ranges import OrdinalRanges
from xpm_stream.label_queue.shards import ShardRow
from xpm_stream.label_queue.trained import TrainedLedger
from xpm_stream.records import SampleId

_PAGE: Final = 500
_BITMAPS_AT_ONCE: Final = 1000  # shards in one round trip
_BITMAP_BYTES_AT_ONCE: Final = 8 << 20  # unless their bitmaps are so large together
_LOOKS: Final = 3  # at a queue that keeps moving, before the ledger is loaded
_ROUNDS: Final = 3  # of so many looks, while anything seems to be missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One look at the queue, behind the rows: relabel work, then the stream."""

    rows: Sequence[ShardRow]
    relabels: list[SampleId]
    entries: list[StreamEntry]
    moves: bytes | None  # as counted before the look
    kept: set[SampleId]  # of those that are relabel work and on the stream: relabel work after the stream was read too


class Auditing(Inspection):
    """Where samples are, and whether that accounts for all of them."""

    def audit(self, trained: TrainedLedger | Callable[[], TrainedLedger]) -> AuditReport:
        """Checks for every shard that samples = trained + queued + skipped + dead.

        While samples move the other way than labelers move them (given back, buried, replayed), one look may miss those
        that move; then the looks are judged together, and nothing is said of samples that are on the queue twice.

        Args:
            trained: the ledger of the newest durable checkpoint. Where a trainer is running, give a function that loads
                it: it is called after the queue was looked at, so that labels acknowledged in between are not missed.
        """
        # Once only: a sample committed by now stays in one place or another.
        rows = sorted(self.shard_rows(), key=lambda row: row.order)
        found: list[ShardPlaces] = []
        for _ in range(_ROUNDS):
            found, unidentified, still = self._look_until_still(rows, found)
            ledger = trained() if callable(trained) else trained
            report = audit_shards(found, ledger, unidentified=unidentified, in_motion=not still)
            if still or report.ok:
                break
        return report

    def _look_until_still(
        self, rows: Sequence[ShardRow], found: list[ShardPlaces]
    ) -> tuple[list[ShardPlaces], int, bool]:
        """Where the samples of each shard are, how many entries name none, and whether nothing moved meanwhile.

        Should they move during each look, the places are those of all looks, and of `found`, together.
        """
        for _ in range(_LOOKS):
            snapshot = self._snapshot(rows)
            places = list(self._places(snapshot))
            unidentified = sum(entry.sample is None for entry in snapshot.entries)
            if self._moves() == snapshot.moves:
                return places, unidentified, True
            found = [old.union(new) for old, new in zip(found, places, strict=True)] if found else places
        return found, unidentified, False

    def _snapshot(self, rows: Sequence[ShardRow] | None = None) -> Snapshot:
        """Rows, then relabel work, then the stream: samples move in that order while labelers work, so none slips by.

        The trainer and `dead replay` move samples the other way and say so in `moves`: the caller must look again.
        """
        moves = self._moves()
        rows = list(self.shard_rows()) if rows is None else rows
        relabels = self._relabel_samples()
        entries = list(self.entries())
        # A sample that a labeler put on the stream in between was seen in both places, but is not in both.
        both = {entry.sample for entry in entries if entry.sample is not None}.intersection(relabels)
        kept = both.intersection(self._relabel_samples()) if both else set()
        return Snapshot(rows=rows, relabels=relabels, entries=entries, moves=moves, kept=kept)

    def _moves(self) -> bytes | None:
        found: bytes | None = self.edge.command("hget", self.keys.meta, "moves", doing="counting moves")
        return found

    def _relabel_samples(self) -> list[SampleId]:
        """Page by page: there may be millions after a checkpoint was lost."""
        found: set[bytes] = set()
        cursor = 0
        while True:
            cursor, page = self.edge.command(
                "zscan", self.keys.relabel_queue, cursor=cursor, count=_PAGE, doing="listing relabel work"
            )
            found.update(bytes(name) for name, _ in page)
            if not cursor:
                return [sample for name in found if (sample := parse_sample(name)) is not None]

    def _places(self, snapshot: Snapshot) -> Iterator[ShardPlaces]:
        """For each shard, where its samples are. Bitmaps are read last, and for some shards at a time."""
        queued = _by_shard(entry.sample for entry in snapshot.entries)
        relabels = _by_shard(snapshot.relabels)
        kept = _by_shard(snapshot.kept)
        for part in _in_parts(snapshot.rows):
            for row, (skipped, dead) in zip(part, self._bitmaps([row.key for row in part]), strict=True):
                stream = queued.get(row.key, [])
                yield ShardPlaces(
                    row=row,
                    queued=OrdinalRanges.of(stream),
                    relabels=OrdinalRanges.of(relabels.get(row.key, [])),
                    skipped=skipped,
                    dead=dead,
                    doubled=OrdinalRanges.of([*_repeated(stream), *kept.get(row.key, [])]),
                )

    def _bitmaps(self, shard_keys: list[str]) -> list[tuple[OrdinalRanges, OrdinalRanges]]:
        def fill(pipe: Any) -> None:
            for key in shard_keys:
                pipe.get(self.keys.skipped_bits(key))
                pipe.get(self.keys.dead_bits(key))

        found = [OrdinalRanges.from_bitmap(bits or b"") for bits in self.edge.pipeline(fill, doing="reading bitmaps")]
        return list(zip(found[::2], found[1::2], strict=True))


def _by_shard(samples: Iterable[SampleId | None]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for sample in samples:
        if sample is not None:
            found.setdefault(shard_key(sample), []).append(sample.ordinal)
    return found


def _repeated(ordinals: Sequence[int]) -> list[int]:
    if len(set(ordinals)) == len(ordinals):
        return []
    return [ordinal for ordinal, times in Counter(ordinals).items() if times > 1]


def _in_parts(rows: Sequence[ShardRow]) -> Iterator[list[ShardRow]]:
    part: list[ShardRow] = []
    size = 0
    for row in rows:
        part.append(row)
        size += row.ordinal // 4  # two bitmaps of one bit a sample
        if len(part) == _BITMAPS_AT_ONCE or size > _BITMAP_BYTES_AT_ONCE:
            yield part
            part, size = [], 0
    if part:
        yield part
