"""`xpm-stream labels`: pseudo labels as files that others train on."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from xpm_stream.errors import ConfigError

if TYPE_CHECKING:
    from xpm_stream.stages.label_export import ExportProgress, ExportRequest

labels = typer.Typer(help="Pseudo labels as COCO JSON or WebDataset shards.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(labels, name="labels", rich_help_panel="Data")


@labels.callback()
def _group() -> None:
    """Pseudo labels as COCO JSON or WebDataset shards."""


@labels.command()
def export(
    run: Annotated[
        str,
        typer.Argument(
            help="run folder or configuration; with --shards also a registry or checkpoint (any fsspec URL)"
        ),
    ],
    coco: Annotated[Path | None, typer.Option(metavar="FOLDER", help="write COCO JSON and its images here")] = None,
    webdataset: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="write shards of images, captions and masks here")
    ] = None,
    teacher: Annotated[
        str, typer.Option(metavar="champion|NUMBER|NAME", help="who labels: the champion, a log entry, a checkpoint")
    ] = "champion",
    shards: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="shards to label; repeatable; default: all of the run"),
    ] = None,
    waiting: Annotated[
        bool, typer.Option("--waiting", help="instead: the labels that wait on the queue, as they are; takes none")
    ] = False,
    min_reliability: Annotated[float | None, typer.Option(help="drop instances below this", min=0, max=1)] = None,
    min_score: Annotated[float | None, typer.Option(help="drop instances below this", min=0, max=1)] = None,
    words: Annotated[str | None, typer.Option(help='only these, e.g. "umbrella, coffee cup"')] = None,
    limit: Annotated[int | None, typer.Option(help="end after so many samples are written", min=1)] = None,
    samples_per_shard: Annotated[int, typer.Option(help="of --webdataset", min=1)] = 1000,
) -> None:
    """Write pseudo labels as COCO JSON or WebDataset shards, with reliability and teacher, for others to train on."""
    from xpm_stream.stages.exported_labels import LabelFilter
    from xpm_stream.stages.label_export import ExportRequest

    request = ExportRequest(
        run=run,
        coco=coco,
        webdataset=webdataset,
        teacher=teacher,
        shards=tuple(shards or ()),
        waiting=waiting,
        chosen=LabelFilter(min_score=min_score, min_reliability=min_reliability, words=_words(words)),
        limit=limit,
        samples_per_shard=samples_per_shard,
    )
    _export_and_tell(request)


def _words(given: str | None) -> frozenset[str] | None:
    if given is None:
        return None
    words = frozenset(" ".join(word.lower().split()) for word in given.split(",") if word.strip())
    if not words:
        raise ConfigError('--words names none: give some, e.g. --words "umbrella, coffee cup"')
    return words


def _export_and_tell(request: ExportRequest) -> None:
    """Export, and print what became of everything, also where nothing was left to export."""
    from xpm_stream.cli.export_table import print_export
    from xpm_stream.stages.label_export import NothingExported, export_labels

    console = Console()
    try:
        with _progress("labels" if request.waiting else "shards") as show:
            tally = export_labels(request, on_progress=show)
    except NothingExported as error:
        print_export(console, error.tally, outputs=[])
        raise
    print_export(console, tally, outputs=request.outputs)


@contextlib.contextmanager
def _progress(of: str) -> Iterator[Callable[[ExportProgress], None]]:
    """Show a bar on a terminal; what is logged meanwhile goes to stderr, away from the table."""
    terminal = Console(stderr=True)
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[samples]:,} samples"),
        TimeElapsedColumn(),
        console=terminal,
        disable=not terminal.is_terminal,
        transient=True,
    )
    with progress, contextlib.redirect_stdout(sys.stderr):
        task = progress.add_task(of, total=None, samples=0)
        yield lambda now: progress.update(task, total=now.total, completed=now.done, samples=now.samples)
