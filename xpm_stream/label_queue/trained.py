"""The trained ledger: which samples a model lineage has learnt from. It lives in the checkpoint, beside the weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from xpm_stream.label_queue.ranges import OrdinalRanges
from xpm_stream.records import SampleId, ShardId

_FORMAT: Final = 1


class TrainedLedger:
    """{(pass, shard): ordinals}, as compact as the order of training allows.

    Example:
        >>> ledger = TrainedLedger()
        >>> ledger.add(SampleId(0, ShardId("a"), 7))
        True
        >>> SampleId(0, ShardId("a"), 7) in ledger
        True
    """

    __slots__ = ("_shards",)

    def __init__(self) -> None:
        self._shards: dict[tuple[int, ShardId], OrdinalRanges] = {}

    def add(self, sample: SampleId) -> bool:
        """Books a sample as trained; False when it already was (the caller must not train it then)."""
        return self._shards.setdefault((sample.pass_index, sample.shard_id), OrdinalRanges()).add(sample.ordinal)

    def __contains__(self, sample: object) -> bool:
        if not isinstance(sample, SampleId):
            return False
        found = self._shards.get((sample.pass_index, sample.shard_id))
        return found is not None and sample.ordinal in found

    contains = __contains__

    def __len__(self) -> int:
        """How many samples."""
        return sum(len(ranges) for ranges in self._shards.values())

    def __bool__(self) -> bool:
        return bool(self._shards)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TrainedLedger):
            return NotImplemented
        return self._shards == other._shards

    __hash__ = None  # type: ignore[assignment]  # it changes

    def shards(self) -> Iterator[tuple[int, ShardId]]:
        """(pass, shard) of every shard with a trained sample."""
        return iter(self._shards)

    def ordinals(self, pass_index: int, shard_id: ShardId) -> OrdinalRanges:
        """A copy of the trained ordinals of one shard in one pass."""
        found = self._shards.get((pass_index, shard_id))
        return OrdinalRanges() if found is None else found.copy()

    def copy(self) -> TrainedLedger:
        """An independent copy: what a checkpoint freezes while training goes on."""
        twin = TrainedLedger()
        twin._shards = {key: ranges.copy() for key, ranges in self._shards.items()}
        return twin

    def merge(self, other: TrainedLedger) -> None:
        """Adds what another rank has trained.

        Raises:
            ValueError: a sample is in both, so two ranks trained it.
        """
        for key, ranges in other._shards.items():
            ours = self._shards.get(key)
            if ours is None:
                self._shards[key] = ranges.copy()
                continue
            twice = ours.intersection(ranges)
            if twice:
                raise ValueError(f"samples {twice} of pass {key[0]}, shard {key[1]} are in two ranks' trained ledgers")
            self._shards[key] = ours.union(ranges)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: {"format": 1, "passes": {pass: {shard_id: [gap, length, ...]}}}."""
        passes: dict[str, dict[str, list[int]]] = {}
        for pass_index, shard_id in sorted(self._shards):
            passes.setdefault(str(pass_index), {})[shard_id] = self._shards[pass_index, shard_id].to_list()
        return {"format": _FORMAT, "passes": passes}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> TrainedLedger:
        """Reads what `to_dict` wrote.

        Raises:
            ValueError: it is not a trained ledger, or of a newer format.
        """
        if document.get("format") != _FORMAT:
            raise ValueError(f"trained ledger has format {document.get('format')!r}; this version reads {_FORMAT}")
        passes = document.get("passes")
        if not isinstance(passes, Mapping) or not all(isinstance(shards, Mapping) for shards in passes.values()):
            raise ValueError("trained ledger has no `passes` of the form {pass: {shard: ranges}}")
        ledger = cls()
        for pass_index, shards in passes.items():
            for shard_id, flat in shards.items():
                ledger._shards[int(pass_index), ShardId(shard_id)] = OrdinalRanges.from_list(flat)
        return ledger

    def digest(self) -> str:
        """sha256 of its content, for a model card's lineage."""
        return hashlib.sha256(json.dumps(self.to_dict(), separators=(",", ":")).encode()).hexdigest()
