"""What became of one window against one reference: values, thresholds, which are above, and who labelled."""

from __future__ import annotations

from typing import Final, Literal

import msgspec
import numpy as np

from xpm_stream.monitoring.drift_bins import WordBins
from xpm_stream.monitoring.drift_measures import LabelMeasures
from xpm_stream.monitoring.drift_reference import DRIFT_SCHEMA_VERSION, DriftReference, decode_state
from xpm_stream.monitoring.drift_statistics import (
    Statistic,
    WordChange,
    changed_words,
    compute_statistics,
    mean_level,
    watched_statistics,
)
from xpm_stream.monitoring.drift_thresholds import DriftThresholds
from xpm_stream.monitoring.drift_windows import TumblingWindow, WindowCounts, WindowLimits

DriftStatus = Literal["no_drift", "drift", "too_few"]
LESS_TRUSTED: Final = 0.8  # of the reference's mean reliability


class StatisticVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """One statistic of one quantity."""

    quantity: str
    statistic: Statistic
    value: float | None  # None: too few values in the window
    threshold: float | None  # None: not judged, for too few labels or too few values
    above: bool


class QuantityLevel(msgspec.Struct, frozen=True, kw_only=True):
    """Where a quantity stands in window and reference, for people: which way it went."""

    quantity: str
    num_values: int  # in the window
    level: float | None  # share, or mean as the bins tell it; None for words, or without values
    reference_level: float | None


class DriftVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """One window against one reference."""

    schema_version: int = DRIFT_SCHEMA_VERSION
    status: DriftStatus
    reference: str  # its name
    reference_teacher: str  # version of the teacher that made the reference's labels
    teacher: str  # version of the teacher that made most of the window's labels
    teachers: dict[str, int]  # the window's labels by teacher version
    num_labels: int
    started_at_s: float
    ended_at_s: float
    false_alarm_windows: float  # mean number of windows between false alarms the thresholds are made for
    statistics: list[StatisticVerdict]
    levels: list[QuantityLevel]
    changed_words: list[WordChange]  # those that add most to the words' distance, most first

    @property
    def above(self) -> list[StatisticVerdict]:
        """The statistics above their thresholds; none unless the status is `drift`."""
        return [one for one in self.statistics if one.above]

    @property
    def less_trusted(self) -> bool:
        """Whether the window's mean reliability is below 0.8 of the reference's (`LESS_TRUSTED`)."""
        return any(
            one.level is not None and one.reference_level is not None and one.level < LESS_TRUSTED * one.reference_level
            for one in self.levels
            if one.quantity == "reliability"
        )

    @property
    def missing(self) -> list[str]:
        """Quantities that should have been judged but have too few values: the teacher no longer gives them."""
        gone = [one.quantity for one in self.statistics if one.threshold is not None and one.value is None]
        return list(dict.fromkeys(gone))


def judge(reference: DriftReference, thresholds: DriftThresholds, window: WindowCounts) -> DriftVerdict:
    """Return the verdict on a closed window.

    Raises:
        ValueError: window, thresholds and reference are not on the same bins, or the window is empty.
    """
    if not reference.bins_id == thresholds.bins_id == window.bins_id:
        raise ValueError(
            f"bins differ: reference {reference.bins_id}, thresholds {thresholds.bins_id}, window {window.bins_id}"
        )
    if not window.num_labels:
        raise ValueError("a window without labels cannot be judged")
    layout, counts = reference.layout, np.array(window.counts, dtype=np.int64)
    values = compute_statistics(layout, reference.counts, counts[None])[0].tolist()
    enough = window.num_labels >= thresholds.window_labels[0]
    limits = thresholds.at(window.num_labels) if enough else [None] * len(values)
    statistics = [
        StatisticVerdict(
            quantity=one.quantity,
            statistic=one.statistic,
            value=None if np.isnan(value) else value,
            threshold=limit,
            above=limit is not None and value > limit,  # NaN is above nothing
        )
        for one, value, limit in zip(watched_statistics(layout.bins), values, limits, strict=True)
    ]
    drifted = any(one.above for one in statistics)
    return DriftVerdict(
        status=("drift" if drifted else "no_drift") if enough else "too_few",
        reference=reference.name,
        reference_teacher=reference.teacher,
        teacher=max(window.teachers, key=lambda version: window.teachers[version]),
        teachers=window.teachers,
        num_labels=window.num_labels,
        started_at_s=window.started_at_s,
        ended_at_s=window.ended_at_s,
        false_alarm_windows=thresholds.false_alarm_windows,
        statistics=statistics,
        levels=[
            QuantityLevel(
                quantity=bins.quantity,
                num_values=int(counts[layout.columns(bins.quantity)].sum()),
                level=mean_level(bins, counts[layout.columns(bins.quantity)]),
                reference_level=mean_level(bins, reference.counts[layout.columns(bins.quantity)]),
            )
            for bins in layout.bins
        ],
        changed_words=[
            change
            for bins in layout.bins
            if isinstance(bins, WordBins)
            for change in changed_words(
                bins, reference.counts[layout.columns(bins.quantity)], counts[layout.columns(bins.quantity)]
            )
        ],
    )


def decode_verdict(data: bytes) -> DriftVerdict:
    """Return a verdict from its JSON.

    Raises:
        DataError: it is none, or of a newer schema.
    """
    return decode_state(data, DriftVerdict, what="drift verdict")


class DriftDetector:
    """Watches a stream of labels against one reference. For two references take two of these."""

    def __init__(self, reference: DriftReference, thresholds: DriftThresholds, limits: WindowLimits) -> None:
        self._reference = reference
        self._thresholds = thresholds
        self._window = TumblingWindow(reference, limits)

    def add(self, label: LabelMeasures, *, teacher: str, now_s: float) -> list[DriftVerdict]:
        """Take one label; return the verdicts on the windows this closes.

        Raises:
            DataError: a value of the label is not finite; the label is not counted.
        """
        return [self._judge(window) for window in self._window.add(label, teacher=teacher, now_s=now_s)]

    def close_if_due(self, *, now_s: float) -> list[DriftVerdict]:
        """Return the verdict on the window whose time is up, if it is."""
        return [self._judge(window) for window in self._window.close_if_due(now_s=now_s)]

    def _judge(self, window: WindowCounts) -> DriftVerdict:
        return judge(self._reference, self._thresholds, window)
