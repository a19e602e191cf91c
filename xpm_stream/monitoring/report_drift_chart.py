"""The report's second chart: how far each quantity's drift statistic is from its threshold, as small multiples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

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
    statistic_text,
    windows_text,
)
from xpm_stream.monitoring.report_timeline import Ratio, Timeline, TimelinePoint

Dates = npt.NDArray[np.float64]

_LINES: Final = ((svg.BLUE, "-"), (svg.PURPLE, "--"), (svg.GREEN, "-."))
_LARGEST_RATIO: Final = 1000.0  # an infinite one (threshold 0) must find a place
_MOST_TITLES: Final = 300  # dots that say what they are; more have none, so that the page stays small


def drift_chart(timeline: Timeline, *, narrow: bool) -> str | None:
    """Draw statistic over threshold of every quantity as small multiples; None where nothing was judged."""
    quantities = list(dict.fromkeys(quantity for point in timeline.points for _, quantity in point.ratios))
    references = references_of(timeline)
    if not quantities:
        return None
    width = NARROW if narrow else WIDE
    columns = 2 if narrow else 3
    num_rows = -(-len(quantities) // columns)
    height = num_rows * (142 if narrow else 160) + 30
    figure = svg.new_figure(width=width, height=height)
    grid = figure.add_gridspec(
        num_rows,
        columns,
        hspace=0.42,
        wspace=0.22 if narrow else 0.12,
        left=(26 if narrow else 34) / width,
        right=1 - 26 / width,  # half of a time below the axes
        top=1 - 24 / height,
        bottom=26 / height,
    )
    titles: dict[str, str] = {}
    times, breaks = dates_of([point.middle_s for point in timeline.points]), breaks_of(timeline.points)
    top = max((min(one.ratio, _LARGEST_RATIO) for p in timeline.points for one in p.ratios.values()), default=1.0)
    above = sum(one.ratio > 1 for point in timeline.points for one in point.ratios.values())
    first: Axes | None = None
    for place, quantity in enumerate(quantities):
        axes = figure.add_subplot(grid[place // columns, place % columns], sharex=first)
        first = first or axes
        for number, reference in enumerate(references):
            ratios = [point.ratios.get((reference, quantity)) for point in timeline.points]
            _draw_line(axes, broken(times, breaks), broken(_heights(ratios), breaks), number=number)
            _draw_dots(axes, times, timeline.points, ratios, titles if above <= _MOST_TITLES and not narrow else None)
        axes.axhline(1, color=svg.RED, linewidth=1, linestyle=(0, (2, 2)))
        axes.set_yscale("symlog", linthresh=1, linscale=1)
        axes.set_ylim(0, max(2.0, top * 1.3))
        axes.yaxis.set_major_locator(FixedLocator(_ratio_ticks(top)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
        lowest = place + columns >= len(quantities)
        dress(axes, quantity_text(quantity), last=lowest, narrow=narrow)
        if place % columns:
            axes.tick_params(labelleft=False)
        put_dates(axes, most=2 if narrow else 4)
    label = "Drift statistics over their thresholds, by quantity and reference"
    return svg.inline_svg(figure, name=f"drift{width}", label=label, titles=titles)


def references_of(timeline: Timeline) -> list[str]:
    """Return the names of the references that windows were judged against, in the order lines are coloured."""
    found = {reference for point in timeline.points for reference, _ in point.ratios}
    return sorted(found, key=lambda name: (name != "frozen", name))


def _heights(ratios: Sequence[Ratio | None]) -> npt.NDArray[np.float64]:
    return np.array([np.nan if one is None else min(one.ratio, _LARGEST_RATIO) for one in ratios])


def _draw_line(axes: Axes, times: Dates, heights: Dates, *, number: int) -> None:
    colour, dashes = _LINES[number % len(_LINES)]
    marker = "o" if np.isfinite(heights).sum() < 2 else None
    axes.plot(times, heights, color=colour, linestyle=dashes, linewidth=1.4, marker=marker, markersize=3.5)


def _draw_dots(
    axes: Axes,
    times: Dates,
    points: Sequence[TimelinePoint],
    ratios: Sequence[Ratio | None],
    titles: dict[str, str] | None,
) -> None:
    """Mark what is above its threshold: each dot with a title, or all as one where titles would be too many."""
    over = [(at, point, one) for at, point, one in zip(times, points, ratios, strict=True) if one and one.ratio > 1]
    style: dict[str, Any] = {"marker": "o", "color": svg.RED, "markersize": 3.4, "linestyle": ""}
    if titles is None:
        axes.plot([at for at, _, _ in over], _heights([one for _, _, one in over]), **style)
        return
    for at, point, one in over:
        (dot,) = axes.plot([at], _heights([one]), **style)
        gid = f"above-{one.reference}-{one.quantity}-{point.first}"
        dot.set_gid(gid)
        titles[gid] = (
            f"{windows_text([point])} against {one.reference}: {statistic_text(one.statistic)} {one.value:.3g}, "
            f"threshold {one.threshold:.3g}"
        )


def _ratio_ticks(top: float) -> list[float]:
    ticks = (0, 0.5, 1, 2, 5, 10) if top <= 10 else (0, 1, 10, 100, 1000)
    return [tick for tick in ticks if tick <= max(2, top * 1.3)]
