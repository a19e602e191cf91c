"""The report as one HTML file that needs nothing else: no network, no script, all pictures inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from xpm_stream.monitoring.report_chart_parts import quantity_text, statistic_text
from xpm_stream.monitoring.report_data import SHOWN_PROMOTIONS, SHOWN_SHARDS, ReportData
from xpm_stream.monitoring.report_drift_chart import drift_chart, references_of
from xpm_stream.monitoring.report_tiles import tiles_of
from xpm_stream.monitoring.report_timeline import Timeline, thin, window_ratios
from xpm_stream.monitoring.report_timeline_chart import timeline_chart
from xpm_stream.monitoring.report_words import changed_words, top_words
from xpm_stream.monitoring.standing import Absent, RunStanding
from xpm_stream.monitoring.times import utc_text
from xpm_stream.monitoring.view_parts import age_text, bytes_text, counted
from xpm_stream.version import __version__

_WIDE_POINTS: Final = 360
_NARROW_POINTS: Final = 120
_TOP_WORDS: Final = 20
_CHANGED_WORDS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One chart, drawn for a desk and for a phone."""

    wide: Markup
    narrow: Markup
    thinning: Sequence[str]  # what was drawn together, in words


def render_report(data: ReportData) -> str:
    """Return the page."""
    environment = Environment(
        loader=PackageLoader("xpm_stream.monitoring", "report_templates"),
        autoescape=True,  # words, captions and reasons come from outside
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        utc=utc_text,
        age=age_text,
        bytes=bytes_text,
        count=lambda value: f"{value:,}",
        counted=counted,
        quantity=quantity_text,
        statistic=statistic_text,
        figure=lambda value: "–" if value is None else f"{value:.3g}",
    )
    standing = data.standing
    windows = standing.telling_windows
    wide, narrow = thin(windows, max_points=_WIDE_POINTS), thin(windows, max_points=_NARROW_POINTS)
    shown = data.promotions[-SHOWN_PROMOTIONS:]
    last = windows[-1] if windows else None
    return environment.get_template("report.html").render(
        data=data,
        standing=standing,
        version=__version__,
        tiles=tiles_of(data),
        is_absent=lambda value: isinstance(value, Absent),
        windows=windows,
        num_small=0 if isinstance(standing.windows, Absent) else len(standing.windows) - len(windows),
        no_windows=_why_none(standing),
        timeline=_timeline(wide, narrow, data) if windows else None,
        drift=_drift(wide, narrow) if windows else None,
        references=references_of(wide),
        last_ratios=[] if last is None else window_ratios(last),
        words=top_words(windows, most=_TOP_WORDS),
        changed=changed_words(windows, most=_CHANGED_WORDS),
        promotions=list(reversed(shown)),
        promotions_left_out=len(data.promotions) - len(shown),
        shown_shards=SHOWN_SHARDS,
    )


def _why_none(standing: RunStanding) -> str:
    if isinstance(standing.windows, Absent):
        return standing.windows.why
    return f"none of {len(standing.windows):,} windows holds {standing.min_window_labels:,} labels or more"


def _timeline(wide: Timeline, narrow: Timeline, data: ReportData) -> Chart:
    return Chart(
        wide=_markup(timeline_chart(wide, data.promotions, narrow=False)),
        narrow=_markup(timeline_chart(narrow, data.promotions, narrow=True)),
        thinning=(wide.thinning(), narrow.thinning()),
    )


def _drift(wide: Timeline, narrow: Timeline) -> Chart | None:
    drawn, small = drift_chart(wide, narrow=False), drift_chart(narrow, narrow=True)
    if drawn is None or small is None:
        return None
    return Chart(wide=_markup(drawn), narrow=_markup(small), thinning=(wide.thinning(), narrow.thinning()))


def _markup(svg: str) -> Markup:
    # Written by ElementTree, which escapes: titles and texts are safe as they are.
    return Markup(svg)
