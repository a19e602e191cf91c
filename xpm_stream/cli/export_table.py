"""What became of an export, as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from xpm_stream.stages.exported_labels import ExportTally

_SHOWN_TEACHERS: Final = 5


def print_export(console: Console, tally: ExportTally, *, outputs: Sequence[Path]) -> None:
    """Print what was written, by which teacher, what was left out and why, and which shards had problems."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("")
    table.add_column("why")
    table.add_column("samples", justify="right")
    table.add_column("instances", justify="right")
    table.add_row("exported", "", f"{tally.samples:,}", f"{tally.instances:,}", style="bold", end_section=True)
    for reason, count in _ordered(tally.left_out):
        table.add_row("left out", reason, f"{count:,}", "")
    for reason, count in _ordered(tally.instances_left_out):
        table.add_row("left out", reason, "", f"{count:,}")
    console.print(table)
    teachers = tally.teachers.most_common()
    shown = ", ".join(f"{name}: {count:,} samples" for name, count in teachers[:_SHOWN_TEACHERS])
    if len(teachers) > _SHOWN_TEACHERS:
        shown += f", and {len(teachers) - _SHOWN_TEACHERS} more"
    read = f"{_counted(len(tally.words), 'word')}, {_counted(tally.shards, 'shard')} read"
    _line(console, read + (f"; by {shown}" if shown else ""))
    for problem in tally.problems:
        _line(console, f"not read, or in part: {problem}", style="yellow")
    if tally.num_problems > len(tally.problems):
        _line(console, f"... and {tally.num_problems - len(tally.problems):,} more shards", style="yellow")
    for note in tally.notes:
        _line(console, note, style="yellow")
    for output in outputs:
        _line(console, f"written: {output}")


def _line(console: Console, text: str, *, style: str = "") -> None:
    console.print(Text(text, style=style), soft_wrap=True)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _ordered(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
