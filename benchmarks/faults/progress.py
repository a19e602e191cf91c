"""When a role has gone on after a fault, as everybody else can see it: in Redis and in the promotion log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.faults.world import Slot, World


@dataclass(frozen=True, slots=True)
class Held:
    """What a labeler held when its fault came."""

    shards: dict[str, tuple[int, int]]  # shard -> fencing token, samples committed
    relabels: dict[str, str]  # sample -> lease

    @classmethod
    def of(cls, world: World, slot: Slot) -> Held:
        """Look. Relabel leases do not name their labeler: the other's are among them, and soon committed."""
        rows = world.shard_rows().items()
        shards = {key: (row.token, row.ordinal) for key, row in rows if row.owner == slot.name}
        return cls(shards, world.relabel_leases())

    def __bool__(self) -> bool:
        return bool(self.shards or self.relabels)

    def taken_over(self, world: World) -> bool:
        """Whether all of it is another's by now, or done."""
        rows, leases = world.shard_rows(), world.relabel_leases()
        shards = all(
            rows[key].token > token or rows[key].state == "finished" for key, (token, _) in self.shards.items()
        )
        return shards and self._relabels_moved(leases)

    def gone_on(self, world: World) -> bool:
        """Whether the samples behind it are committed."""
        rows, leases = world.shard_rows(), world.relabel_leases()
        shards = all(
            rows[key].ordinal > ordinal or rows[key].state == "finished" for key, (_, ordinal) in self.shards.items()
        )
        return shards and self._relabels_moved(leases)

    def _relabels_moved(self, leases: dict[str, str]) -> bool:
        return all(leases.get(sample) != lease for sample, lease in self.relabels.items())


def next_progress(world: World, slot: Slot, *, held: Held | None = None) -> Callable[[], bool]:
    """Return a condition: the role of `slot`, by whichever process, has gone on since now.

    Labeler: what the victim held is committed (`held`), else the next commit of any labeler; a trainer: the next labels
    acknowledged or given back; promoter: every candidate known now is decided. Or nothing is left for it to do.
    """
    if slot.kind == "promoter":
        known = {candidate.number for candidate in world.log.candidates()}
        return lambda: not known & {candidate.number for candidate in world.log.pending_candidates()}
    if held:
        found = held
        return lambda: bool(world.counters()) and found.gone_on(world)
    measure = _labelled if slot.kind == "labeler" else _trained
    before = measure(world)

    def gone_on() -> bool:
        if slot.finished or (slot.kind == "labeler" and _nothing_to_label(world)):
            return True
        return measure(world) > before >= 0

    return gone_on


def _labelled(world: World) -> int:
    """How many samples were ever labelled, skipped or rejected; -1 while Redis is away."""
    counters = world.counters()
    names = [name for name in counters if name == "labels" or name.startswith(("skipped.", "dead."))]
    return sum(counters[name] for name in names) if counters else -1


def _trained(world: World) -> int:
    """How many labels were ever acknowledged or given back; -1 while Redis is away."""
    counters = world.counters()
    return counters.get("acknowledged", 0) + counters.get("given_back", 0) if counters else -1


def _nothing_to_label(world: World) -> bool:
    rows = world.shard_rows()
    return bool(rows) and all(row.state == "finished" for row in rows.values()) and not world.relabels()
