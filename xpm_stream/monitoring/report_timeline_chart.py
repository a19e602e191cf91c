"""The report's first chart: reliability over time, what was decided meanwhile, rate and queue."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator

from xpm_stream.monitoring import report_svg as svg
from xpm_stream.monitoring.report_chart_parts import (
    NARROW,
    WIDE,
    breaks_of,
    broken,
    dates_of,
    dress,
    put_dates,
    quantity_text,
    runs_of,
    statistic_text,
    windows_text,
)
from xpm_stream.monitoring.report_timeline import Timeline, TimelinePoint
from xpm_stream.monitoring.standing import PromotionStanding
from xpm_stream.monitoring.times import utc_text

_MARKS: Final = {  # action: shape, colour
    "promote": ("^", svg.GREEN),
    "refuse": ("x", svg.RED),
    "inconclusive": ("o", svg.QUIET),
    "rollback": ("<", svg.AMBER),
    "revoke": ("s", svg.RED),
}
_MOST_MARKS: Final = 200


def timeline_chart(timeline: Timeline, promotions: Sequence[PromotionStanding], *, narrow: bool) -> str:
    """Draw decisions, reliability quantiles, teachers, rate and queue on one time axis; return it as SVG.

    There must be a point.
    """
    width = NARROW if narrow else WIDE
    figure = svg.new_figure(width=width, height=560 if narrow else 520)
    grid = figure.add_gridspec(
        5,
        1,
        height_ratios=(0.32, 3.2, 0.24, 1.15, 1.15),
        hspace=0.42,
        left=(34 if narrow else 44) / width,
        right=1 - (22 if narrow else 26) / width,
        top=0.965,
        bottom=0.055,
    )
    rows: list[Axes] = [figure.add_subplot(grid[0])]
    rows += [figure.add_subplot(grid[row], sharex=rows[0]) for row in range(1, 5)]
    decisions, reliability, teachers, rate, queue = rows
    points, titles = timeline.points, dict[str, str]()
    times = dates_of([point.middle_s for point in points])
    breaks = breaks_of(points)
    shown = [entry for entry in promotions if entry.created_at_s >= points[0].started_at_s - _edge(points)]
    _draw_reliability(reliability, points, times, breaks)
    _draw_alarms(reliability, points, titles)
    _draw_line(rate, points, times, breaks, of=lambda point: point.labels_per_second, colour=svg.BLUE)
    _draw_line(queue, points, times, breaks, of=lambda point: point.unacked_labels, colour=svg.PURPLE)
    _draw_teachers(teachers, points, titles, width=width)
    _draw_decisions(decisions, rows[1:], shown[-_MOST_MARKS:], titles)
    for axes, title in zip(
        rows,
        (
            "decisions",
            "reliability of pseudo labels",
            "teacher of most labels",
            "labels per second",
            "labels not yet in a checkpoint",
        ),
        strict=True,
    ):
        dress(axes, title, last=axes is queue, narrow=narrow)
    for axes in (decisions, teachers):
        axes.yaxis.set_major_locator(NullLocator())
        axes.spines["bottom"].set_visible(False)
        axes.grid(visible=False)
    reliability.set_ylim(0, 1)
    for axes in (rate, queue):
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(3, integer=axes is queue))
        axes.yaxis.set_major_formatter(_short_number)
    margin = max((points[-1].ended_at_s - points[0].started_at_s) * 0.01, 0.5)
    ends = [points[0].started_at_s, points[-1].ended_at_s, *(entry.created_at_s for entry in shown)]
    decisions.set_xlim(*dates_of([min(ends) - margin, max(ends) + margin]))
    if not narrow:
        _draw_hover(reliability, points, titles)
    put_dates(queue, most=4 if narrow else 9)
    label = f"Reliability quantiles, decisions, rate and queue over {timeline.num_windows} windows"
    return svg.inline_svg(figure, name=f"timeline{width}", label=label, titles=titles)


def _draw_reliability(axes: Axes, points: Sequence[TimelinePoint], times: Any, breaks: Sequence[int]) -> None:
    nothing = (np.nan,) * 5
    rows = np.array([point.reliability or nothing for point in points], dtype=np.float64)
    rows, times = broken(rows, breaks), broken(times, breaks)
    axes.fill_between(times, rows[:, 0], rows[:, 4], color=svg.BLUE, alpha=0.16, linewidth=0)
    axes.fill_between(times, rows[:, 1], rows[:, 3], color=svg.BLUE, alpha=0.3, linewidth=0)
    alone = len(points) < 2
    axes.plot(times, rows[:, 2], color=svg.BLUE, linewidth=1.8, marker="o" if alone else None, markersize=4)


def _draw_line(
    axes: Axes,
    points: Sequence[TimelinePoint],
    times: Any,
    breaks: Sequence[int],
    *,
    of: Callable[[TimelinePoint], float],
    colour: str,
) -> None:
    values = broken(np.array([of(point) for point in points], dtype=np.float64), breaks)
    times = broken(times, breaks)
    axes.fill_between(times, 0, values, color=colour, alpha=0.14, linewidth=0)
    axes.plot(times, values, color=colour, linewidth=1.4, marker="o" if len(points) < 2 else None, markersize=4)


def _draw_alarms(axes: Axes, points: Sequence[TimelinePoint], titles: dict[str, str]) -> None:
    for number, group in enumerate(runs_of(points, lambda point: point.alarms and not point.by_teacher_only)):
        start, end = dates_of([group[0].started_at_s, max(group[-1].ended_at_s, group[0].started_at_s + 1e-3)])
        axes.axvspan(start, end, facecolor=svg.RED, alpha=0.13, linewidth=0, zorder=0.5)
        span = axes.axvspan(start, end, ymin=0.965, facecolor=svg.RED, linewidth=0, zorder=4)
        span.set_gid(f"alarm-{number}")
        titles[f"alarm-{number}"] = _alarm_title(group)
    for number, group in enumerate(runs_of(points, lambda point: point.alarms and point.by_teacher_only)):
        start, end = dates_of([group[0].started_at_s, max(group[-1].ended_at_s, group[0].started_at_s + 1e-3)])
        span = axes.axvspan(start, end, ymin=0.965, facecolor=svg.QUIET, alpha=0.45, linewidth=0, zorder=4)
        span.set_gid(f"changed-{number}")
        titles[f"changed-{number}"] = f"{_alarm_title(group)}; labels are not trusted less"
    for number, group in enumerate(runs_of(points, lambda point: point.brake)):
        start, end = dates_of([group[0].started_at_s, max(group[-1].ended_at_s, group[0].started_at_s + 1e-3)])
        bar = axes.axvspan(start, end, ymax=0.03, facecolor=svg.AMBER, linewidth=0, zorder=4)
        bar.set_gid(f"brake-{number}")
        titles[f"brake-{number}"] = f"{windows_text(group)}: the brake held promotions back"


def _alarm_title(group: Sequence[TimelinePoint]) -> str:
    references = sorted({name for point in group for name in point.alarms})
    causes = list(dict.fromkeys(cause for point in group for cause in point.causes))
    worst = max((one for point in group for one in point.ratios.values()), key=lambda one: one.ratio, default=None)
    parts = [f"{windows_text(group)}: drift against {', '.join(references)}"]
    parts.append(f"cause: {', '.join(causes) or 'not said'}")
    if worst is not None:
        parts.append(f"furthest: {quantity_text(worst.quantity)}, {statistic_text(worst.statistic)} {worst.value:.3g}")
        parts.append(f"threshold {worst.threshold:.3g}")
    return "; ".join(parts)


def _draw_teachers(axes: Axes, points: Sequence[TimelinePoint], titles: dict[str, str], *, width: int) -> None:
    whole = max(points[-1].ended_at_s - points[0].started_at_s, 1e-3)
    axes.set_ylim(0, 1)
    groups = [list(group) for _, group in itertools.groupby(points, key=lambda point: point.teacher)]
    for number, group in enumerate(groups):
        start_s = group[0].started_at_s
        end_s = groups[number + 1][0].started_at_s if number + 1 < len(groups) else group[-1].ended_at_s
        start, end = dates_of([start_s, max(end_s, start_s + 1e-3)])
        span = axes.axvspan(start, end, facecolor=svg.BLUE, alpha=0.34 if number % 2 else 0.16, linewidth=0)
        span.set_gid(f"teacher-{number}")
        titles[f"teacher-{number}"] = f"teacher {group[0].teacher} made most labels of {windows_text(group)}"
        if (end_s - start_s) / whole * width > 9 * len(group[0].teacher) + 8:
            middle = dates_of([(start_s + end_s) / 2])[0]
            axes.text(
                middle, 0.46, group[0].teacher, ha="center", va="center", color=svg.INK, fontsize=10, clip_on=True
            )


def _draw_decisions(
    axes: Axes, others: Sequence[Axes], entries: Sequence[PromotionStanding], titles: dict[str, str]
) -> None:
    axes.set_ylim(0, 1)
    for entry in entries:
        at = dates_of([entry.created_at_s])
        shape, colour = _MARKS.get(entry.action, ("o", svg.QUIET))
        (mark,) = axes.plot(at, [0.42], marker=shape, color=colour, markersize=6.5, markeredgewidth=1.6, linestyle="")
        mark.set_gid(f"decision-{entry.number}")
        mark.set_clip_on(False)
        reasons = f": {'; '.join(entry.reasons)}" if entry.reasons else ""
        titles[f"decision-{entry.number}"] = (
            f"{utc_text(entry.created_at_s)}: {entry.action} v{entry.number}, step {entry.step:,}{reasons}"
        )
        if entry.action in ("promote", "rollback"):
            for panel in others:
                panel.axvline(at[0], color=colour, linewidth=0.8, alpha=0.55, zorder=1)


def _draw_hover(axes: Axes, points: Sequence[TimelinePoint], titles: dict[str, str]) -> None:
    for point in points:
        start, end = dates_of([point.started_at_s, max(point.ended_at_s, point.started_at_s + 1e-3)])
        area = axes.axvspan(start, end, ymin=0.03, ymax=0.965, facecolor=svg.INK, alpha=0.004, linewidth=0, zorder=5)
        gid = f"point-{point.first}"
        area.set_gid(gid)
        median = "no reliability" if point.reliability is None else f"median reliability {point.reliability[2]:.3f}"
        verdict = f"drift against {', '.join(point.alarms)}" if point.alarms else "no drift"
        if point.alarms and point.by_teacher_only:
            verdict = f"changed by the teacher only (against {', '.join(point.alarms)})"
        titles[gid] = (
            f"{windows_text([point])}, {utc_text(point.started_at_s)}: {median}, {point.num_labels:,} labels, "
            f"teacher {point.teacher}, {verdict if point.judged else 'not judged'}"
        )


def _short_number(value: float, _place: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if value >= 1e4 else f"{value:g}"


def _edge(points: Sequence[TimelinePoint]) -> float:
    """Seconds before the first window whose decisions are shown: the first teacher's promotion among them."""
    return max((points[-1].ended_at_s - points[0].started_at_s) * 0.25, 60.0)
