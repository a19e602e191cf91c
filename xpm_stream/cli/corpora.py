"""`xpm-stream synth` and `xpm-stream shards`: making and looking at corpora."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from xpm_stream.cli.options import RunPath

shards = typer.Typer(help="Caption shards: pack, look at, add.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(rich_help_panel="Data")(synth)
    app.add_typer(shards, name="shards", rich_help_panel="Data")


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

    from xpm_stream.config.schema import SyntheticCorpusConfig
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


@shards.command()
def pack(
    captions: Annotated[str, typer.Argument(help="COCO captions JSON", show_default=False)],
    images: Annotated[str, typer.Argument(help="folder of the images", show_default=False)],
    output: Annotated[str, typer.Argument(help="folder for the shards", show_default=False)],
    samples_per_shard: Annotated[int, typer.Option(min=1)] = 1000,
) -> None:
    """Pack COCO captions and images into caption shards."""
    from xpm_stream.data.packing import pack_coco_captions

    report = pack_coco_captions(captions, images, output, samples_per_shard=samples_per_shard)
    typer.echo(f"{report.samples:,} samples with {report.captions:,} captions in {len(report.shards)} shards: {output}")
    if report.images_without_captions or report.empty_captions:
        left_out = f"{report.images_without_captions} images without captions, {report.empty_captions} empty captions"
        typer.echo(f"left out: {left_out}")


@shards.command(name="list")
def list_shards(run: RunPath) -> None:
    """Print the shard ledger of a run."""
    from xpm_stream.cli.audit_table import print_audit
    from xpm_stream.config import load_config
    from xpm_stream.stages.run_account import account_of

    print_audit(Console(), account_of(load_config(run / "config.yaml")).audit)


@shards.command()
def add(
    run: RunPath,
    patterns: Annotated[list[str], typer.Argument(help="fsspec URLs, brace ranges, globs", show_default=False)],
    pass_index: Annotated[int, typer.Option("--pass", help="which pass over the corpus", min=0)] = 0,
) -> None:
    """Add shards to a run; those it knows are left as they are."""
    from xpm_stream.config import load_config
    from xpm_stream.stages.shard_registration import add_shards

    added, known = add_shards(load_config(run / "config.yaml"), patterns, pass_index=pass_index)
    typer.echo(f"{added} shards added, {known - added} already known")
