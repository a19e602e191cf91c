"""What the cells came to: a table for the terminal, the same for the documentation, JSON for scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
from rich.table import Table

from benchmarks.faults.plan import FAULTS, POINTS
from benchmarks.faults.verdict import CellResult
from benchmarks.faults.world import LEASE_S

GOAL_S: Final = LEASE_S + 5.0
_COLUMNS: Final = (
    *("fault", "role", "points", "cells", "failed", "samples", "lost", "trained twice"),
    *("recoveries", "p50 s", "p99 s", "worst s"),
)
_TEXT_COLUMNS: Final = 2


@dataclass(frozen=True, slots=True)
class Row:
    """Cells taken together."""

    fault: str
    role: str
    results: list[CellResult]

    @property
    def recoveries(self) -> list[float]:
        """Every recovery time, seconds."""
        return [seconds for result in self.results for seconds in result.recoveries]

    def cells(self) -> tuple[str, ...]:
        """The row as text, in the order of the columns."""
        results, seconds = self.results, self.recoveries
        times = [f"{np.percentile(seconds, share):.2f}" for share in (50, 99, 100)] if seconds else ["", "", ""]
        return (
            self.fault,
            self.role,
            str(len({result.point for result in results})),
            str(len(results)),
            str(sum(bool(result.problems) for result in results)),
            f"{sum(result.samples for result in results):,}",
            str(sum(result.lost for result in results)),
            str(sum(result.twice for result in results)),
            str(len(seconds)),
            *times,
        )


def rows_of(results: Sequence[CellResult]) -> list[Row]:
    """One row for each fault and role, then one for each fault, then all."""
    found = []
    for fault in FAULTS:
        of_fault = [result for result in results if result.fault == fault]
        for role in ("labeler", "trainer", "promoter"):
            of_role = [result for result in of_fault if result.role == role]
            if of_role:
                found.append(Row(fault, role, of_role))
    return [*found, Row("all", "all", list(results))]


def table_of(results: Sequence[CellResult]) -> Table:
    """Everything as a table."""
    table = Table(title=f"Fault matrix (recovery goal: {GOAL_S:.0f} s = lease + 5 s)", title_justify="left")
    for number, name in enumerate(_COLUMNS):
        table.add_column(name, justify="left" if number < _TEXT_COLUMNS else "right", no_wrap=number < _TEXT_COLUMNS)
    rows = rows_of(results)
    for row in rows:
        bad = not all(result.ok for result in row.results)
        slow = bool(row.recoveries) and max(row.recoveries) > GOAL_S
        table.add_row(*row.cells(), style="bold red" if bad else "yellow" if slow else "")
        if row is rows[-2]:
            table.add_section()
    return table


def markdown_of(results: Sequence[CellResult], facts: Mapping[str, str]) -> str:
    """The table as a documentation page's section, what was run above it, the points below."""
    ruler = ["---"] * _TEXT_COLUMNS + ["---:"] * (len(_COLUMNS) - _TEXT_COLUMNS)
    lines = [f"{name}: {value}  " for name, value in facts.items()]
    lines += ["", *("| " + " | ".join(cells) + " |" for cells in (_COLUMNS, ruler))]
    lines += ["| " + " | ".join(row.cells()) + " |" for row in rows_of(results)]
    lines += [
        "",
        "| point | cells | failed | lost | trained twice | worst recovery s |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for point in POINTS:
        row = Row("", "", [result for result in results if result.point == point])
        if row.results:
            failed, lost, twice = (row.cells()[column] for column in (4, 6, 7))
            lines.append(f"| `{point}` | {len(row.results)} | {failed} | {lost} | {twice} | {row.cells()[-1]} |")
    return "\n".join([*lines, ""])


def as_json(results: Sequence[CellResult], facts: Mapping[str, str]) -> bytes:
    """Every cell for scripts."""
    cells = [{**msgspec.to_builtins(result), "ok": result.ok} for result in results]
    return msgspec.json.format(msgspec.json.encode({**facts, "cells": cells})) + b"\n"
