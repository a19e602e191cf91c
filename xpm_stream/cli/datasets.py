"""`xpm-stream datasets`: public data sets made ready: annotations of another form, splits by frequency, shards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

datasets = typer.Typer(help="COCO, LVIS, Open Images: annotations, splits, shards.", no_args_is_help=True)

MaskTable = Annotated[str, typer.Option("--masks", help="table of masks, e.g. train-...-object-segmentation.csv")]
ClassNames = Annotated[str, typer.Option("--class-names", help="rows LABEL,NAME; other classes are left out")]
SplitOutput = Annotated[Path, typer.Argument(help="split file to write", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(datasets, name="datasets", rich_help_panel="Data")


@datasets.command("open-images")
def open_images(
    output: Annotated[Path, typer.Argument(help="instance JSON to write", show_default=False)],
    masks: MaskTable,
    mask_files: Annotated[str, typer.Option(help="folder of the masks' PNG files")],
    images: Annotated[str, typer.Option(help="folder of IMAGE.jpg")],
    class_names: ClassNames,
    boxes: Annotated[str | None, typer.Option(help="table of boxes: gives GroupOf boxes, for evaluation")] = None,
    image_labels: Annotated[
        str | None, typer.Option(help="table of human-verified image labels, for evaluation")
    ] = None,
    hierarchy: Annotated[str | None, typer.Option(help="hierarchy JSON to expand labels by, for evaluation")] = None,
    workers: Annotated[int, typer.Option(help="processes that decode masks", min=1)] = 1,
    allow_missing_images: Annotated[
        bool, typer.Option("--allow-missing-images", help="leave out images that are not in the folder")
    ] = False,
) -> None:
    """Write Open Images' masks (CSV and PNG) as instance JSON, for `data.base`, `data.val` and `evaluate`."""
    from xpm_stream.data.open_images import OpenImagesSources, write_open_images

    console = Console()
    with console.status("reading tables") as status:
        summary = write_open_images(
            OpenImagesSources(
                masks=masks,
                mask_files=mask_files,
                images=images,
                class_names=class_names,
                boxes=boxes,
                image_labels=image_labels,
                hierarchy=hierarchy,
            ),
            output,
            workers=workers,
            allow_missing_images=allow_missing_images,
            on_progress=lambda count: status.update(f"masks: {count:,}"),
        )
    console.print(f"{output}: {summary}", highlight=False, markup=False, soft_wrap=True)


@datasets.command("open-images-split")
def open_images_split(
    output: SplitOutput,
    masks: MaskTable,
    class_names: ClassNames,
    base: Annotated[int, typer.Option(help="how many of the most common classes", min=1)] = 200,
    target: Annotated[int, typer.Option(help="how many of the rarest classes", min=0)] = 100,
) -> None:
    """Write the split of Open Images' mask classes by frequency: XPM's 200 base and 100 target classes."""
    from xpm_stream.data import frequency_splits

    split = frequency_splits.open_images_split(masks, class_names, num_base=base, num_target=target)
    frequency_splits.write_split(split, output)
    typer.echo(f"{output}: {len(split.base)} base and {len(split.target)} target classes")


@datasets.command("lvis-split")
def lvis_split(
    output: SplitOutput,
    annotations: Annotated[str, typer.Option(help="an LVIS annotation file, e.g. lvis_v1_train.json")],
) -> None:
    """Write LVIS's split by frequency: frequent and common classes are base, rare ones target."""
    from xpm_stream.data import frequency_splits

    split = frequency_splits.lvis_split(annotations)
    frequency_splits.write_split(split, output)
    typer.echo(f"{output}: {len(split.base)} base and {len(split.target)} target classes")


@datasets.command("coco-captions")
def coco_captions(
    output: Annotated[Path, typer.Argument(help="folder to write shards into", show_default=False)],
    captions: Annotated[str, typer.Option(help="COCO captions JSON, e.g. captions_train2017.json")],
    images: Annotated[str, typer.Option(help="folder of the images")],
    samples_per_shard: Annotated[int, typer.Option(min=1)] = 1000,
) -> None:
    """Pack COCO captions and images as WebDataset shards, for `data.shards`."""
    from xpm_stream.data.packing import pack_coco_captions

    report = pack_coco_captions(captions, images, output, samples_per_shard=samples_per_shard)
    typer.echo(
        f"{output}: {len(report.shards)} shards, {report.samples:,} images with {report.captions:,} captions; "
        f"left out: {report.images_without_captions} images without captions, {report.empty_captions} empty captions"
    )
