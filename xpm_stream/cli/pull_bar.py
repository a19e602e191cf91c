"""A progress bar on standard error while a checkpoint is pulled; none where that is no terminal."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from xpm_stream.registry.pulling import PullProgress, pull_checkpoint


def pull_with_bar(url: str, revision: str) -> Path:
    """Pull a checkpoint into the user's cache and return its folder; raises what `pull_checkpoint` does."""
    console = Console(stderr=True)
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[file]}", style="dim", markup=False),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    with progress:
        task = progress.add_task("", total=None, file="", visible=False)

        def show(pulled: PullProgress) -> None:
            progress.update(
                task,
                description="waiting for another pull" if pulled.waiting else pulled.checkpoint,
                total=pulled.total,
                completed=pulled.done,
                file=pulled.file,
                visible=True,
            )

        with contextlib.redirect_stdout(sys.stderr):  # whatever is logged meanwhile: a script reads our standard output
            return pull_checkpoint(url, revision, on_progress=show)
