"""`xpm-stream up | show | audit`: a whole run on this machine, and looking at one."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console

from xpm_stream.cli.options import ConfigPath, Overrides, RunPath, config_of
from xpm_stream.config import RunConfig, load_config

if TYPE_CHECKING:
    from xpm_stream.monitoring.run_view import RunView
    from xpm_stream.stages.closing import Outcome

_LINE_EVERY_S: Final = 10.0


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(rich_help_panel="A whole run")(up)
    app.command(rich_help_panel="A whole run")(audit)
    app.command(rich_help_panel="A whole run")(show)


def up(config: ConfigPath, overrides: Overrides = None) -> None:
    """Run all roles on this machine: prepare, teach, stream, promote, evaluate, show."""
    loaded = load_config(config, overrides=overrides or ())
    from xpm_stream.stages.run_folder import RunFolder

    folder, console = RunFolder.of(loaded), Console()
    with folder.claimed():
        try:
            finished = _run_all(loaded, console)
        except KeyboardInterrupt:  # the roles are killed by now; that loses no more than a crash does
            finished = False
    if not finished:
        way_on = folder.config if folder.config.exists() else config
        message = f"stopped; nothing is lost. To go on: xpm-stream up {way_on}"
        console.print(message, highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(130)


def _run_all(config: RunConfig, console: Console) -> bool:
    """Run to the end; false if told to stop before."""
    from xpm_stream.monitoring.run_view import RunView
    from xpm_stream.stages.closing import close_run
    from xpm_stream.stages.local import LocalRun

    with console.status("preparing data") as status:

        def progress(done: int, total: int) -> None:
            status.update(f"preparing data: {done:,} of {total:,} images")

        run = LocalRun.prepare(config, progress=progress)
    console.print(f"run folder {run.folder.root}", highlight=False, markup=False, soft_wrap=True)
    view = RunView(run.folder.root, name=run.config.name, total_steps=run.config.trainer.steps)
    with _interruptible() as stopped, _shown(view, console) as look:
        finished = run.stream(on_stage=view.enter, on_look=look, stopped=stopped)
    if not finished:
        return False
    with console.status("closing") as status:
        outcome = close_run(run, on_stage=status.update, on_look=lambda: None)
    _print_outcome(console, outcome, run_folder=run.folder.root)
    if not outcome.ok:
        raise typer.Exit(1)
    return True


def show(
    run: RunPath,
    checkpoint: Annotated[str | None, typer.Option(help="checkpoint folder; default: the champion")] = None,
    out: Annotated[Path | None, typer.Option(help="PNG to write; default: in the run folder")] = None,
    examples: Annotated[int, typer.Option(help="images to show", min=1, max=64)] = 8,
) -> None:
    """Draw pseudo masks with words, per-pixel noise and reliability (the paper's Figure 3)."""
    from xpm_stream.errors import RegistryError
    from xpm_stream.registry.promotion_log import PromotionLog
    from xpm_stream.stages.run_folder import RunFolder
    from xpm_stream.stages.showing import show_pseudo_labels

    config = config_of(run)
    folder = RunFolder.of(config)
    if checkpoint is None:
        champion = PromotionLog(folder.registry_url(config)).champion()
        if champion is None:
            raise RegistryError(f"{run} has no promoted teacher yet")
        checkpoint = f"{folder.registry_url(config)}/checkpoints/{champion.checkpoint}"
    picture = show_pseudo_labels(
        config, checkpoint=checkpoint, output=out or folder.pictures / "pseudo_labels.png", examples=examples
    )
    typer.echo(picture)


def audit(run: RunPath) -> None:
    """Check that every sample is trained, queued, skipped or dead; exit status 1 if one is missing."""
    from xpm_stream.cli.audit_table import print_audit
    from xpm_stream.stages.run_account import account_of

    report = account_of(config_of(run)).audit
    print_audit(Console(), report)
    if not report.ok:
        raise typer.Exit(1)


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a question's answer; a second one interrupts at once."""
    asked = False

    def handle(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def _shown(view: RunView, console: Console) -> Iterator[Callable[[], None]]:
    """Draw the view live on a terminal; print a line now and then elsewhere."""
    from rich.live import Live

    if console.is_terminal:
        with Live(view, console=console, refresh_per_second=4):
            yield view.look
        return
    last = float("-inf")

    def look() -> None:
        nonlocal last
        if time.monotonic() - last >= _LINE_EVERY_S:
            last = time.monotonic()
            view.look()
            print(view.line(), flush=True)

    yield look


def _print_outcome(console: Console, outcome: Outcome, *, run_folder: Path) -> None:
    from xpm_stream.monitoring.summary_tables import print_summary

    commands = [
        (f"xpm-stream show {run_folder} --examples 16", "draw more pseudo labels"),
        (f"xpm-stream audit {run_folder}", "account for every sample"),
        (f"xpm-stream report {run_folder}", "a page about it all"),
        (f"xpm-stream checkpoints history {run_folder}", "every teacher, and what the gates said"),
        (f"cat {run_folder}/summary.json", "the figures, for scripts"),
    ]
    print_summary(outcome.summary, console=console, commands=commands)
    console.print(f"picture: {outcome.picture}", highlight=False, soft_wrap=True)
    for problem in outcome.audit.problems():
        console.print(f"[bold red]audit:[/] {problem}", highlight=False)
