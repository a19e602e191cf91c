"""`xpm-stream predict`: find objects by name in people's own images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

if TYPE_CHECKING:
    from xpm_stream.registry.pulling import PullProgress
    from xpm_stream.stages.predicting_files import PredictedFiles


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(rich_help_panel="Models")(predict)


def predict(
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGES...", help="files, folders, globs or URLs", show_default=False)
    ],
    words: Annotated[
        str, typer.Option(metavar="TEXT", help='what to look for: "astronaut, dinosaur"', show_default=False)
    ],
    model: Annotated[
        str, typer.Option(metavar="URL", help="run folder, registry, or checkpoint folder", show_default=False)
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="folder for pictures and COCO JSON", show_default=False)],
    revision: Annotated[
        str, typer.Option(help="champion, an entry of the promotion log, or a checkpoint's name")
    ] = "champion",
    score_threshold: Annotated[float, typer.Option(help="leave out what scores no higher", min=0, max=1)] = 0.3,
    max_detections: Annotated[int, typer.Option(help="most objects of an image", min=1)] = 100,
    batch_images: Annotated[int, typer.Option(help="images looked at together", min=1)] = 8,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:N, or auto: a CUDA device if there is one")] = "auto",
    pictures: Annotated[bool, typer.Option(help="draw a picture of each image")] = True,
) -> None:
    """Find objects by name in images: a picture of each, and all as one COCO JSON; status 1 if an image is broken."""
    console = Console(stderr=True)
    with console.status("loading"):
        from xpm_stream.stages.predicting import load_predictor
        from xpm_stream.stages.predicting_files import find_images, predict_files
    asked = words.split(",")
    files = find_images(images)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        pulling = progress.add_task("pulling, bytes", total=None)

        def pulled(now: PullProgress) -> None:
            progress.update(pulling, completed=now.done, total=now.total)

        loaded = load_predictor(model, revision=revision, device=device, on_progress=pulled)
        progress.remove_task(pulling)
        predicting = progress.add_task("predicting, images", total=len(files))
        done = predict_files(
            loaded,
            files,
            asked,
            out=out,
            score_threshold=score_threshold,
            max_detections=max_detections,
            batch_images=batch_images,
            pictures=pictures,
            on_progress=lambda count: progress.update(predicting, completed=count),
        )
    _print_done(done, model=loaded.name, pictures=pictures)
    for reason in done.broken:
        console.print(Text.assemble(("broken:", "bold red"), " ", reason), soft_wrap=True)
    if done.broken:
        raise typer.Exit(1)


def _print_done(done: PredictedFiles, *, model: str, pictures: bool) -> None:
    from xpm_stream.stages.predicting_files import COCO_FILE

    counts = ", ".join(f"{count} {word}" for word, count in done.objects.items()) or "nothing"
    typer.echo(f"{model} found in {done.images} image{'' if done.images == 1 else 's'}: {counts}")
    if pictures and done.images:
        typer.echo(f"pictures: {done.folder}")
    typer.echo(f"COCO JSON: {done.folder / COCO_FILE}")
    if not done.rated:
        typer.echo("reliability: none: a checkpoint of this method and xpm.reliability has none (docs/predicting.md)")
