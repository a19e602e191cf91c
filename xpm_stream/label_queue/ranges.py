"""A set of ordinals kept as sorted, disjoint, half-open ranges: a million samples in a row cost two numbers."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence

import numpy as np


class OrdinalRanges:
    """A set of non-negative integers, as few ranges [start, stop) as possible.

    Membership is O(log ranges); adding in order is O(1), anywhere else O(ranges).
    """

    __slots__ = ("_starts", "_stops")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        for start, stop in ranges:
            self.add_range(start, stop)

    @classmethod
    def of(cls, ordinals: Iterable[int]) -> OrdinalRanges:
        """The set of the given ordinals, in any order, repeated or not."""
        found = cls()
        for ordinal in sorted(ordinals):
            found.add(ordinal)
        return found

    @classmethod
    def from_bitmap(cls, bitmap: bytes) -> OrdinalRanges:
        """The positions of the ones in a Redis bitmap (bit 0 is the most significant bit of byte 0)."""
        found = cls()
        if not bitmap:
            return found
        bits = np.zeros(len(bitmap) * 8 + 2, np.uint8)
        bits[1:-1] = np.unpackbits(np.frombuffer(bitmap, np.uint8))
        edges = np.flatnonzero(bits[1:] != bits[:-1])
        found._starts = edges[::2].tolist()
        found._stops = edges[1::2].tolist()
        return found

    def add(self, ordinal: int) -> bool:
        """Adds one ordinal; returns whether it is new."""
        if ordinal in self:
            return False
        self.add_range(ordinal, ordinal + 1)
        return True

    def add_range(self, start: int, stop: int) -> None:
        """Adds [start, stop), merging what it overlaps or touches.

        Raises:
            ValueError: the range is negative or reversed.
        """
        if start < 0 or stop < start:
            raise ValueError(f"[{start}, {stop}) is not a range of ordinals")
        if start == stop:
            return
        first = bisect_left(self._stops, start)
        last = bisect_right(self._starts, stop)
        if first < last:
            start = min(start, self._starts[first])
            stop = max(stop, self._stops[last - 1])
        self._starts[first:last] = [start]
        self._stops[first:last] = [stop]

    def __contains__(self, ordinal: object) -> bool:
        if not isinstance(ordinal, int):
            return False
        place = bisect_right(self._starts, ordinal) - 1
        return place >= 0 and ordinal < self._stops[place]

    def __len__(self) -> int:
        """How many ordinals."""
        return sum(self._stops) - sum(self._starts)

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __iter__(self) -> Iterator[int]:
        for start, stop in self.ranges():
            yield from range(start, stop)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, OrdinalRanges):
            return NotImplemented
        return self._starts == other._starts and self._stops == other._stops

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"OrdinalRanges({str(self)!r})"

    def __str__(self) -> str:
        """For people: `0-41, 43, 50-99`, both ends included."""
        return ", ".join(str(start) if stop == start + 1 else f"{start}-{stop - 1}" for start, stop in self.ranges())

    def ranges(self) -> Iterator[tuple[int, int]]:
        """The ranges [start, stop), in order."""
        return zip(self._starts, self._stops, strict=True)

    def copy(self) -> OrdinalRanges:
        """An independent copy."""
        twin = OrdinalRanges()
        twin._starts = list(self._starts)
        twin._stops = list(self._stops)
        return twin

    def union(self, other: OrdinalRanges) -> OrdinalRanges:
        """Ordinals in either."""
        if not (self and other):
            return (self or other).copy()
        found = OrdinalRanges()
        for start, stop in sorted([*self.ranges(), *other.ranges()]):
            found.add_range(start, stop)
        return found

    def intersection(self, other: OrdinalRanges) -> OrdinalRanges:
        """Ordinals in both."""
        found = OrdinalRanges()
        ours, theirs = list(self.ranges()), list(other.ranges())
        i = j = 0
        while i < len(ours) and j < len(theirs):
            start, stop = max(ours[i][0], theirs[j][0]), min(ours[i][1], theirs[j][1])
            if start < stop:
                found.add_range(start, stop)
            if ours[i][1] <= theirs[j][1]:
                i += 1
            else:
                j += 1
        return found

    def difference(self, other: OrdinalRanges) -> OrdinalRanges:
        """Ordinals here and not in the other."""
        if not (self and other):
            return self.copy()
        found = OrdinalRanges()
        theirs = list(other.ranges())
        place = 0
        for start, stop in self.ranges():
            while place < len(theirs) and theirs[place][1] <= start:
                place += 1
            at = place
            while start < stop:
                if at == len(theirs) or theirs[at][0] >= stop:
                    found.add_range(start, stop)
                    break
                found.add_range(start, max(start, theirs[at][0]))
                start = max(start, theirs[at][1])
                at += 1
        return found

    def to_list(self) -> list[int]:
        """Compact, for JSON: gap, length, gap, length, ... (a gap counts from the end of the range before)."""
        flat: list[int] = []
        end = 0
        for start, stop in self.ranges():
            flat += (start - end, stop - start)
            end = stop
        return flat

    @classmethod
    def from_list(cls, flat: Sequence[int]) -> OrdinalRanges:
        """Reads what `to_list` wrote.

        Raises:
            ValueError: it is not such a list.
        """
        if len(flat) % 2 or not all(type(number) is int and number >= 0 for number in flat):
            raise ValueError("ordinal ranges are an even number of non-negative integers: gap, length, ...")
        found = cls()
        end = 0
        for gap, length in zip(flat[::2], flat[1::2], strict=True):
            found.add_range(end + gap, end + gap + length)
            end += gap + length
        return found
