"""The small parts that views in the terminal are made of: counts, sizes, durations, sparklines, tables of facts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rich.table import Table
from rich.text import Text

ABSENT: Final = "–"
_BAR: Final = "▁▂▃▄▅▆▇█"
_SPARKLINE_LENGTH: Final = 16


def facts_table(title: str) -> Table:
    """Return an empty table of name, value and unit."""
    table = Table(
        title=Text(title, style="bold"), title_justify="left", box=None, show_header=False, padding=(0, 1, 0, 0)
    )
    table.add_column(style="dim", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(style="dim", no_wrap=True)
    return table


def count_text(value: float | None) -> str:
    """Return a whole number with thousands apart; a dash where it is not known."""
    return ABSENT if value is None else f"{value:,.0f}"


def counted(number: int, name: str) -> str:
    """Return `1 shard`, `2 shards`."""
    return f"{number:,} {name}{'' if number == 1 else 's'}"


def rate_text(rate: float | None) -> str:
    """Return events a second; nothing where it is not known."""
    return "" if rate is None else f"{rate:.1f}/s"


def bytes_text(value: float | None) -> str:
    """Return a size in KiB or MiB; nothing where it is not known."""
    if value is None:
        return ""
    return f"{value / 1024:.0f} KiB" if value < 1024**2 else f"{value / 1024**2:.1f} MiB"


def clock_text(seconds: float) -> str:
    """Return a duration as a clock shows it: 1:02, or 3:01:02."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def age_text(seconds: float) -> str:
    """Return a duration in its largest two units: 12 s, 4 min, 3 h 05 min, 2 d 4 h."""
    if seconds < 60:
        return f"{max(seconds, 0):.0f} s"
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} d {hours % 24} h"


def sparkline(values: Iterable[float], *, length: int = _SPARKLINE_LENGTH) -> str:
    """Return the last `length` values as bars between their own lowest and highest; nothing for fewer than two."""
    shown = list(values)[-length:]
    if len(shown) < 2:
        return ""
    low, high = min(shown), max(shown)
    span = (high - low) or 1.0
    return "".join(_BAR[round((value - low) / span * (len(_BAR) - 1))] for value in shown)


def budget_bar(share: float, *, width: int = 20) -> Text:
    """Return a bar of how much of a budget is used; above 1 it is full."""
    filled = min(max(round(share * width), 1 if share > 0 else 0), width)
    style = "red" if share >= 1 else "yellow" if share >= 0.8 else "green"
    return Text.assemble(("█" * filled, style), ("░" * (width - filled), "dim"))
