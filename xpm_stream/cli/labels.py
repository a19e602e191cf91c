"""`xpm-stream labels`: pseudo labels as files that others train on."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

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
        typer.Option(metavar="PATTERN", help="shards to label; repeatable; default: the run's data.shards"),
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
    from xpm_stream.cli.export_table import print_export
    from xpm_stream.errors import ConfigError
    from xpm_stream.stages.exported_labels import LabelFilter
    from xpm_stream.stages.label_export import ExportProgress, ExportRequest, NothingExported, export_labels

    asked = None if words is None else frozenset(word.strip() for word in words.split(",") if word.strip())
    if asked is not None and not asked:
        raise ConfigError('--words names none: give some, e.g. --words "umbrella, coffee cup"')
    request = ExportRequest(
        run=run,
        coco=coco,
        webdataset=webdataset,
        teacher=teacher,
        shards=tuple(shards or ()),
        waiting=waiting,
        chosen=LabelFilter(min_score=min_score, min_reliability=min_reliability, words=asked),
        limit=limit,
        samples_per_shard=samples_per_shard,
    )
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
    console = Console()
    with progress, contextlib.redirect_stdout(sys.stderr):  # whatever is logged meanwhile
        task = progress.add_task("labels" if waiting else "shards", total=None, samples=0)

        def show(now: ExportProgress) -> None:
            progress.update(task, total=now.total, completed=now.done, samples=now.samples)

        try:
            tally = export_labels(request, on_progress=show)
            outputs = [folder for folder in (coco, webdataset) if folder is not None]
            failure = None
        except NothingExported as error:
            tally, outputs, failure = error.tally, [], error
    print_export(console, tally, outputs=outputs)
    if failure is not None:
        raise failure
