"""`xpm-stream report | status`: a page about a run, and the same at a glance in the terminal."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from xpm_stream.cli.options import RunPath
from xpm_stream.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from xpm_stream.stages.status import Status


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(rich_help_panel="A whole run")(status)
    app.command(rich_help_panel="A whole run")(report)


def status(
    run: RunPath,
    watch: Annotated[bool, typer.Option("--watch", help="look again every few seconds, until Ctrl-C")] = False,
    every: Annotated[float, typer.Option(metavar="SECONDS", min=0.5, help="how often --watch looks")] = 3.0,
    json: Annotated[bool, typer.Option("--json", help="one JSON object, for scripts")] = False,
) -> None:
    """Show how a run stands: roles, queue, promotions, drift. Exit status 0: healthy; 1: something needs a person."""
    from xpm_stream.stages.status import look

    if watch and json:
        raise ConfigError("--watch is for people and --json for scripts: give one of them")
    if watch:
        _watch(run, every_s=every)
        return
    seen = look(run)
    if json:
        sys.stdout.buffer.write(seen.as_json() + b"\n")
    else:
        Console(highlight=False).print(_drawn(seen))
    if not seen.healthy:
        raise typer.Exit(1)


def report(
    run: RunPath,
    out: Annotated[Path | None, typer.Option(help="HTML file to write; default: report.html in the run folder")] = None,
    pictures: Annotated[
        bool,
        typer.Option("--pictures/--no-pictures", help="label a few images with the champion and show best and worst"),
    ] = True,
) -> None:
    """Write one self-contained HTML page about a run: reliability, drift, words, masks, promotions, audit."""
    from xpm_stream.stages.reporting import write_report

    with Console(stderr=True).status("looking at the run") as shown:
        written = write_report(run, out=out, pictures=pictures, on_stage=shown.update)
    print(written)


def _watch(run: Path, *, every_s: float) -> None:
    from rich.live import Live

    from xpm_stream.stages.status import look

    told: list[int] = []  # an interrupt raised inside a finaliser is swallowed there: then the next look is the last

    def interrupt(number: int, _frame: FrameType | None) -> None:
        told.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    console, seen = Console(highlight=False), look(run)
    with suppress(KeyboardInterrupt), Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
        while not told:
            live.update(_drawn(seen), refresh=True)
            time.sleep(every_s)
            seen = look(run, earlier=seen)
    if not seen.healthy:
        raise typer.Exit(1)


def _drawn(seen: Status) -> RenderableType:
    from xpm_stream.monitoring.status_view import status_view

    return status_view(seen.standing, seen.concerns)
