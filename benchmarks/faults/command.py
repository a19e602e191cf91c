"""The fault matrix: every crash point x every fault, twice in a row, with real processes and a real Redis.

    python -m benchmarks.faults                 the long form, 100,000 samples and more
    python -m benchmarks.faults --short         every point and every fault once or twice
    python -m benchmarks.faults --points trainer.after_step --faults kill freeze --seeds 7

A stub network counts in its weights how often each sample was trained. The exit status is 1 if a sample is lost or
trained twice, or if a cell failed; a failed cell keeps its folder.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.faults.cell import run_cell
from benchmarks.faults.plan import FAULTS, POINTS, Cell, cells, short_form
from benchmarks.faults.report import GOAL_S, as_json, markdown_of, table_of
from benchmarks.faults.verdict import CellResult
from xpm_stream.monitoring.summary import describe_machine

_SMALLEST: Final = 240  # samples of a cell: fewer leave no room for two faults
_WIDTH: Final = 160  # columns of a table that goes to a file


def main(given: Sequence[str] | None = None) -> None:
    """Run the cells asked for, print the table, write the files asked for."""
    asked = _parser().parse_args(given)
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    chosen = _chosen(asked)
    started = datetime.datetime.now(datetime.UTC)
    folder = Path(tempfile.mkdtemp(prefix="faults-", dir=asked.folder))
    results = asyncio.run(_run(chosen, folder=folder, parallel=asked.parallel, console=console))
    facts = _facts(given, started, results)
    console.print(table_of(results))
    for name, value in facts.items():
        console.print(f"{name}: {value}", highlight=False)
    for result in results:
        if not result.ok:
            console.print(f"[bold red]failed[/] {result.point} - {result.fault} - seed {result.seed}: {result.folder}")
            for problem in result.problems:
                console.print(f"  {problem}", highlight=False, markup=False, soft_wrap=True)
    if asked.json is not None:
        asked.json.write_bytes(as_json(results, facts))
    if asked.markdown is not None:
        asked.markdown.write_text(markdown_of(results, facts), encoding="utf-8")
    if all(result.ok for result in results):
        folder.rmdir()
    else:
        sys.exit(1)


def _chosen(asked: argparse.Namespace) -> list[Cell]:
    if asked.short:
        return short_form(samples_each=_SMALLEST)
    number = len(cells(points=asked.points, faults=asked.faults, seeds=asked.seeds, samples_each=0))
    each = max(_SMALLEST, math.ceil(asked.samples / number)) if asked.samples else _SMALLEST
    return cells(points=asked.points, faults=asked.faults, seeds=asked.seeds, samples_each=each)


async def _run(chosen: Sequence[Cell], *, folder: Path, parallel: int, console: Console) -> list[CellResult]:
    """Run all cells, some at a time, in one event loop: the work is in the roles' processes."""
    room = asyncio.Semaphore(parallel)
    results: list[CellResult | None] = [None] * len(chosen)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        bar = progress.add_task("cells", total=len(chosen))
        failed = 0

        async def one(number: int, cell: Cell) -> None:
            nonlocal failed
            async with room:
                result = await run_cell(cell, folder=folder / f"{number:03d}")
            results[number] = result
            failed += not result.ok
            if not result.ok:
                progress.console.print(f"failed: {cell.name}: {result.problems}", highlight=False, markup=False)
            progress.update(bar, advance=1, description=f"cells, {failed} failed" if failed else "cells")

        async with asyncio.TaskGroup() as tasks:
            for number, cell in enumerate(chosen):
                tasks.create_task(one(number, cell))
    return [result for result in results if result is not None]


def _facts(given: Sequence[str] | None, started: datetime.datetime, results: Sequence[CellResult]) -> dict[str, str]:
    machine = describe_machine()
    late = sum(seconds > GOAL_S for result in results for seconds in result.recoveries)
    return {
        "command": " ".join(["python -m benchmarks.faults", *(sys.argv[1:] if given is None else given)]),
        "date": started.isoformat(timespec="minutes"),
        "machine": f"{machine.cpu_cores} cores of {machine.processor}, {machine.memory_gb or 0:.0f} GB",
        "cells": f"{len(results)}, {sum(result.ok for result in results)} without a problem",
        "recoveries later than the goal": f"{late} of {sum(len(result.recoveries) for result in results)}",
        "seconds": f"{(datetime.datetime.now(datetime.UTC) - started).total_seconds():.0f}",
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", nargs="+", choices=POINTS, default=POINTS, metavar="POINT", help="crash points")
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=FAULTS, metavar="FAULT", help=", ".join(FAULTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], help="each point meets each fault so often")
    parser.add_argument("--samples", type=int, default=100_000, help="in all cells together, at least; 0: few")
    parser.add_argument("--parallel", type=int, default=2, metavar="N", help="cells at a time")
    parser.add_argument("--short", action="store_true", help="the test suite's selection")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every cell here")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table here")
    parser.add_argument("--folder", type=Path, help="where cells work; a short path, Redis listens on a socket in it")
    return parser
