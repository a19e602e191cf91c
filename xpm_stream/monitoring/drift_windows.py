"""Tumbling windows of labels: counts on a reference's bins, closed by number of labels or by time.

Nothing here reads a clock: the caller says what time it is, the same clock throughout.
"""

from __future__ import annotations

from collections import Counter

import msgspec
import numpy as np

from xpm_stream.errors import ConfigError
from xpm_stream.monitoring.drift_bins import Counts
from xpm_stream.monitoring.drift_measures import LabelMeasures
from xpm_stream.monitoring.drift_reference import DriftReference


class WindowLimits(msgspec.Struct, frozen=True, kw_only=True):
    """When a window closes, and how many labels it must then have to be judged.

    Raises:
        ConfigError: limits that no window could keep.
    """

    max_labels: int  # closes with this many labels
    max_seconds: float  # or this long after its first label, whichever comes first
    min_labels: int  # with fewer, its verdict is `too_few`

    def __post_init__(self) -> None:
        if not 1 <= self.min_labels <= self.max_labels:
            raise ConfigError(
                f"a drift window of {self.min_labels} to {self.max_labels} labels: "
                "min_labels must be at least 1 and at most max_labels"
            )
        if not self.max_seconds > 0:
            raise ConfigError(f"a drift window of {self.max_seconds} seconds: max_seconds must be above 0")


class WindowCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What a window holds of its labels: how many values fell in each bin, and nothing else."""

    bins_id: str  # of the reference on whose bins the counts are
    num_labels: int
    counts: list[int]  # one for each column of the reference's layout
    teachers: dict[str, int]  # labels by teacher version
    started_at_s: float  # time of its first label
    ended_at_s: float  # time of its last label, or at which it was closed

    def merge(self, other: WindowCounts) -> WindowCounts:
        """Return the window of both windows' labels.

        Raises:
            ValueError: they are on different bins.
        """
        if self.bins_id != other.bins_id:
            raise ValueError(f"windows on different bins cannot be merged: {self.bins_id} and {other.bins_id}")
        return WindowCounts(
            bins_id=self.bins_id,
            num_labels=self.num_labels + other.num_labels,
            counts=[mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)],
            teachers=dict(Counter(self.teachers) + Counter(other.teachers)),
            started_at_s=min(self.started_at_s, other.started_at_s),
            ended_at_s=max(self.ended_at_s, other.ended_at_s),
        )


class TumblingWindow:
    """Takes labels one after the other and gives a window's counts each time one closes."""

    def __init__(self, reference: DriftReference, limits: WindowLimits) -> None:
        self._bins_id = reference.bins_id
        self._layout = reference.layout
        self._limits = limits
        self._started_at_s: float | None = None  # None: no label yet
        self._last_at_s = 0.0
        self._num_labels = 0
        self._counts: Counts = np.zeros(reference.layout.num_columns, dtype=np.int64)
        self._teachers: Counter[str] = Counter()

    def add(self, label: LabelMeasures, *, teacher: str, now_s: float) -> list[WindowCounts]:
        """Take one label; return the windows this closes: none, one by time before it, one by number with it.

        Raises:
            DataError: a value of the label is not finite; the label is not counted.
        """
        added = self._layout.count([label])[0]
        closed = self.close_if_due(now_s=now_s)
        if self._started_at_s is None:
            self._started_at_s = self._last_at_s = now_s
        self._last_at_s = max(self._last_at_s, now_s)
        self._counts += added
        self._teachers[teacher] += 1
        self._num_labels += 1
        if self._num_labels >= self._limits.max_labels:
            closed.append(self._close(ended_at_s=self._last_at_s))
        return closed

    def close_if_due(self, *, now_s: float) -> list[WindowCounts]:
        """Return the window whose time is up, if it is: call it now and then, so that a slow stream is judged too."""
        if self._started_at_s is None or now_s - self._started_at_s < self._limits.max_seconds:
            return []
        return [self._close(ended_at_s=max(self._last_at_s, self._started_at_s + self._limits.max_seconds))]

    def _close(self, *, ended_at_s: float) -> WindowCounts:
        assert self._started_at_s is not None
        closed = WindowCounts(
            bins_id=self._bins_id,
            num_labels=self._num_labels,
            counts=self._counts.tolist(),
            teachers=dict(self._teachers),
            started_at_s=self._started_at_s,
            ended_at_s=ended_at_s,
        )
        self._started_at_s = None
        self._num_labels = 0
        self._counts = np.zeros_like(self._counts)
        self._teachers = Counter()
        return closed
