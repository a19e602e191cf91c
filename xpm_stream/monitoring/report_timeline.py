"""The windows of a run as points of charts, no more of them than a chart can show."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from xpm_stream.monitoring.drift_records import WindowRecord

QUANTILES: Final = ("0.05", "0.25", "0.5", "0.75", "0.95")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """The statistic of one quantity that is furthest towards its threshold, or beyond it."""

    reference: str
    quantity: str
    statistic: str
    value: float
    threshold: float

    @property
    def ratio(self) -> float:
        """Value over threshold; above 1 is an alarm."""
        return self.value / self.threshold if self.threshold else math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelinePoint:
    """One window, or several neighbours together."""

    first: int  # number of the first window
    last: int
    started_at_s: float
    ended_at_s: float
    num_labels: int
    teacher: str  # version that most of the labels carry
    reliability: tuple[float, ...] | None  # at QUANTILES; medians over the windows; None without values
    labels_per_second: float
    unacked_labels: int  # the largest
    ratios: dict[tuple[str, str], Ratio]  # (reference, quantity): the largest
    alarms: tuple[str, ...]  # references against which a window drifted
    causes: tuple[str, ...]
    by_teacher_only: bool  # alarms of new teachers whose labels are not trusted less, and no others
    judged: bool
    brake: bool

    @property
    def middle_s(self) -> float:
        """Where it stands on the time axis."""
        return (self.started_at_s + self.ended_at_s) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """All windows kept, oldest first."""

    points: Sequence[TimelinePoint]
    num_windows: int
    windows_per_point: int  # above 1: neighbours are drawn together

    def thinning(self) -> str:
        """Say how windows became points; nothing where each is one."""
        if self.windows_per_point == 1:
            return ""
        return (
            f"{self.num_windows:,} windows are drawn as {len(self.points):,} points of up to "
            f"{self.windows_per_point:,} windows each: medians of quantiles, means of rates, and the largest of "
            "statistics and queue lengths, so that no alarm is hidden"
        )


def thin(records: Sequence[WindowRecord], *, max_points: int) -> Timeline:
    """Return the windows as at most `max_points` points."""
    each = max(1, math.ceil(len(records) / max_points))
    groups = [records[start : start + each] for start in range(0, len(records), each)]
    return Timeline(points=[_point(group) for group in groups], num_windows=len(records), windows_per_point=each)


def _point(group: Sequence[WindowRecord]) -> TimelinePoint:
    teachers: Counter[str] = Counter()
    for record in group:
        teachers.update(record.teachers)
    verdicts = [verdict for record in group for verdict in record.verdicts]
    return TimelinePoint(
        first=group[0].number,
        last=group[-1].number,
        started_at_s=group[0].started_at_s,
        ended_at_s=group[-1].ended_at_s,
        num_labels=sum(record.num_labels for record in group),
        teacher=max(teachers, key=lambda name: teachers[name]) if teachers else group[-1].teacher,
        reliability=_quantiles(group),
        labels_per_second=float(np.mean([record.labels_per_second for record in group])),
        unacked_labels=max(record.queue.unacked_labels for record in group),
        ratios=_largest(group),
        alarms=tuple(sorted({verdict.reference for verdict in verdicts if verdict.status == "drift"})),
        causes=tuple(dict.fromkeys(record.cause for record in group if record.cause is not None)),
        by_teacher_only=all(record.by_teacher_only for record in group if record.cause is not None),
        judged=any(verdict.status != "too_few" for verdict in verdicts),
        brake=any(record.brake for record in group),
    )


def _quantiles(group: Sequence[WindowRecord]) -> tuple[float, ...] | None:
    rows = []
    for record in group:
        values = reliability_quantiles(record)
        if values is not None:
            rows.append(values)
    return tuple(float(value) for value in np.median(rows, axis=0)) if rows else None


def reliability_quantiles(record: WindowRecord) -> tuple[float, ...] | None:
    """Return a window's reliability at QUANTILES; None where its labels have none."""
    found = record.quantiles.get("reliability")
    values = [] if found is None else [found.get(name) for name in QUANTILES]
    known = tuple(value for value in values if value is not None)
    return known if len(known) == len(QUANTILES) else None


def window_ratios(record: WindowRecord) -> list[Ratio]:
    """Return, for each reference and quantity judged, the statistic that is furthest; furthest first."""
    return sorted(_largest([record]).values(), key=lambda one: -one.ratio)


def _largest(group: Sequence[WindowRecord]) -> dict[tuple[str, str], Ratio]:
    found: dict[tuple[str, str], Ratio] = {}
    for record in group:
        for verdict in record.verdicts:
            for one in verdict.statistics:
                if one.value is None or one.threshold is None:
                    continue
                ratio = Ratio(
                    reference=verdict.reference,
                    quantity=one.quantity,
                    statistic=one.statistic,
                    value=one.value,
                    threshold=one.threshold,
                )
                key = (verdict.reference, one.quantity)
                if key not in found or ratio.ratio > found[key].ratio:
                    found[key] = ratio
    return found
