"""A run's shards as a table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from os.path import commonprefix

from rich.console import Console
from rich.table import Table
from rich.text import Text

from xpm_stream.label_queue import ShardRow

_STYLES = {"failed": "bold red", "leased": "cyan", "finished": "green", "pending": ""}


def utc(seconds: float) -> str:
    """A moment, for people."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def print_shards(console: Console, rows: Sequence[ShardRow], *, now_s: float) -> None:
    """Print a line for each shard; the folder they share is named once, above."""
    if not rows:
        return
    # Cut at a slash below, so that it is a folder; commonpath would take the slashes of `s3://` for one.
    folder = commonprefix([row.url for row in rows]).rpartition("/")[0]  # noqa: RUF071
    console.print(Text(f"shards below {folder}/"), soft_wrap=True)
    table = Table()
    for name in ("pass", "state"):
        table.add_column(name, no_wrap=True)
    for name in ("read", "labels", "skipped", "dead"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("shard", overflow="fold", min_width=12)
    table.add_column("note", overflow="fold", min_width=12)
    for row in rows:
        table.add_row(
            str(row.pass_index),
            Text(row.state, style=_STYLES[row.state]),
            *(f"{number:,}" for number in (row.ordinal, row.labels, sum(row.skipped.values()), sum(row.dead.values()))),
            Text(row.url.removeprefix(f"{folder}/")),
            Text(_note(row, now_s)),
        )
    console.print(table)


def _note(row: ShardRow, now_s: float) -> str:
    if row.state == "leased" and row.expires_ms is not None:
        left_s = row.expires_ms / 1000 - now_s
        until = f"for {left_s:.0f} s more" if left_s > 0 else f"till {-left_s:.0f} s ago: free for the next labeler"
        return f"{row.owner}, {until}"
    return row.damage or ""
