"""What the report's charts share: their axes, their dates, and lines that break where the stream stood still."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import matplotlib.dates as mdates
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator

from xpm_stream.monitoring import report_svg as svg
from xpm_stream.monitoring.report_timeline import TimelinePoint

WIDE: Final = 1040  # CSS pixels: on a desk
NARROW: Final = 330  # on a phone
_STATISTICS: Final = {"psi": "PSI", "jensen_shannon": "Jensen-Shannon", "wasserstein": "Wasserstein"}
_DATES: Final = ["%Y", "%b", "%d %b", "%H:%M", "%H:%M", "%H:%M:%S"]  # of years, months, days, ... seconds


def quantity_text(quantity: str) -> str:
    """Return a quantity's name for people."""
    return quantity.replace("_", " ")


def statistic_text(statistic: str) -> str:
    """Return a statistic's name for people."""
    return _STATISTICS.get(statistic, statistic.replace("_", " "))


def dress(axes: Axes, title: str, *, last: bool, narrow: bool) -> None:
    """Give axes their title, quiet grid and labels; only the last of a column shows its dates."""
    axes.set_title(title, loc="left", fontsize=10.5 if narrow else 11, color=svg.QUIET, pad=4)
    axes.patch.set_visible(False)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(svg.LINE)
    axes.grid(axis="y", color=svg.LINE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=10, labelcolor=svg.QUIET, labelbottom=last, pad=4)
    axes.tick_params(axis="x", pad=8)


def put_dates(axes: Axes, *, most: int) -> None:
    """Write at most so many times below axes, in UTC."""
    # With fewer than 5 its steps do not reach every span: what is too many is left out afterwards.
    locator = mdates.AutoDateLocator(minticks=2, maxticks=max(5, most))
    first, last = mdates.num2date(axes.get_xlim())
    places = locator.tick_values(first, last)
    shown = [place for place in places if axes.get_xlim()[0] <= place <= axes.get_xlim()[1]]
    axes.xaxis.set_major_locator(FixedLocator(shown[:: -(-len(shown) // most) or 1]))
    formatter = mdates.ConciseDateFormatter(
        locator, formats=_DATES, zero_formats=[_DATES[0], *_DATES[:-1]], show_offset=False
    )
    axes.xaxis.set_major_formatter(formatter)


def windows_text(group: Sequence[TimelinePoint]) -> str:
    """Say which windows neighbouring points stand for."""
    first, last = group[0].first, group[-1].last
    return f"window {first}" if first == last else f"windows {first} to {last}"


def runs_of(
    points: Sequence[TimelinePoint], marked: Callable[[TimelinePoint], object]
) -> Iterator[list[TimelinePoint]]:
    """Yield the unbroken runs of marked points."""
    for is_marked, group in itertools.groupby(points, key=lambda point: bool(marked(point))):
        if is_marked:
            yield list(group)


def dates_of(times_s: Sequence[float]) -> npt.NDArray[np.float64]:
    """Return Unix times as matplotlib's dates."""
    moments = (np.asarray(times_s, dtype=np.float64) * 1e6).astype("datetime64[us]")
    dates: npt.NDArray[np.float64] = mdates.date2num(moments)
    return dates


def breaks_of(points: Sequence[TimelinePoint]) -> list[int]:
    """Return the places before which the stream stood still, so that no line is drawn over it."""
    gaps = [after.started_at_s - before.ended_at_s for before, after in itertools.pairwise(points)]
    spans = [point.ended_at_s - point.started_at_s for point in points]
    usual = max(float(np.median(spans)), 1.0)
    return [place + 1 for place, gap in enumerate(gaps) if gap > 5 * usual]


def broken(values: npt.NDArray[Any], breaks: Sequence[int]) -> npt.NDArray[Any]:
    """Put a NaN before each break."""
    return np.insert(values.astype(np.float64), list(breaks), np.nan, axis=0) if breaks else values
