"""`xpm-stream synth`: making a corpus."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(rich_help_panel="Data")(synth)


def synth(
    output: Annotated[Path, typer.Argument(help="folder to write", show_default=False)],
    preset: Annotated[str, typer.Option(help="tiny, quickstart or full")] = "quickstart",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="change one setting of the preset; repeatable"),
    ] = None,
    workers: Annotated[int, typer.Option(help="processes; 0: one for each core", min=0)] = 0,
) -> None:
    """Draw the synthetic corpus: a base set and a held-out set in COCO format, and caption shards."""
    import yaml

    from xpm_stream.config.data_sections import SyntheticCorpusConfig
    from xpm_stream.data.synthetic import write_corpus
    from xpm_stream.errors import ConfigError
    from xpm_stream.stages.preparation import synthetic_config

    changed = {}
    for item in settings or ():
        key, separator, value = item.partition("=")
        if not separator:
            raise ConfigError(f"--set {item!r} is not of the form KEY=VALUE")
        changed[key] = yaml.safe_load(value)
    console = Console()
    with console.status("drawing") as status:
        corpus = write_corpus(
            output,
            preset=synthetic_config(SyntheticCorpusConfig(preset=preset, seed=seed, settings=changed)),
            seed=seed,
            workers=workers or os.cpu_count() or 1,
            progress=lambda done, total: status.update(f"drawing: {done:,} of {total:,} images"),
        )
    table = Table.grid(padding=(0, 2))
    for name in ("base_annotations", "base_images", "val_annotations", "val_images", "caption_shards", "split"):
        table.add_row(name.replace("_", " "), str(getattr(corpus, name)))
    for name in ("base_words", "target_words", "unannotated_words"):
        table.add_row(name.replace("_", " "), ", ".join(getattr(corpus, name)))
    console.print(table)
