"""`xpm-stream evaluate`: how good a checkpoint is on annotated images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console

from xpm_stream.config import RunConfig, config_of_run

if TYPE_CHECKING:
    from xpm_stream.evaluation.instance_ap import Setting
    from xpm_stream.evaluation.truth import Protocol


class SettingChoice(StrEnum):
    """Which question is asked of the model."""

    BOTH = "both"
    CONSTRAINED = "constrained"
    GENERALIZED = "generalized"


class ProtocolChoice(StrEnum):
    """Whose rules count."""

    AUTO = "auto"
    COCO = "coco"
    LVIS = "lvis"
    OPEN_IMAGES = "open_images"


_SETTINGS: Final[Mapping[SettingChoice, Sequence[Setting]]] = {
    SettingChoice.BOTH: ("constrained", "generalized"),
    SettingChoice.CONSTRAINED: ("constrained",),
    SettingChoice.GENERALIZED: ("generalized",),
}
_PROTOCOLS: Final[Mapping[ProtocolChoice, Protocol | None]] = {
    ProtocolChoice.AUTO: None,
    ProtocolChoice.COCO: "coco",
    ProtocolChoice.LVIS: "lvis",
    ProtocolChoice.OPEN_IMAGES: "open_images",
}


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(rich_help_panel="Models")(evaluate)


def evaluate(
    checkpoint: Annotated[
        str,
        typer.Argument(
            help="checkpoint folder; or run folder or registry: its champion, or URL@REVISION (any fsspec URL)",
            show_default=False,
        ),
    ],
    run: Annotated[
        Path | None,
        typer.Option(help="take annotations, images and split from this run; default: CHECKPOINT, if it is one"),
    ] = None,
    annotations: Annotated[
        str | None, typer.Option(help="instance JSON of COCO, LVIS or `xpm-stream datasets open-images`")
    ] = None,
    images: Annotated[
        str | None, typer.Option(help="folder of the images; default: ../val2017 of .../instances_val2017.json")
    ] = None,
    split: Annotated[str | None, typer.Option(help="split file, or `coco_48_17`; default: the run's")] = None,
    setting: Annotated[SettingChoice, typer.Option(help="each split's words alone, all together, or both")] = (
        SettingChoice.BOTH
    ),
    protocol: Annotated[ProtocolChoice, typer.Option(help="whose rules; auto: those of the annotations")] = (
        ProtocolChoice.AUTO
    ),
    max_images: Annotated[int | None, typer.Option(help="only the first so many images", min=1)] = None,
    score_threshold: Annotated[float | None, typer.Option(help="drop detections below this", min=0, max=1)] = None,
    json: Annotated[Path | None, typer.Option(help="also write the figures here")] = None,
) -> None:
    """Judge a checkpoint on annotated images: box and mask AP, base and target, constrained and generalized."""
    from xpm_stream.cli.score_table import print_scores
    from xpm_stream.config.data_sections import BaseSetConfig
    from xpm_stream.errors import ConfigError
    from xpm_stream.stages.evaluating import evaluate_checkpoint

    like = _like(checkpoint, run)
    if annotations:
        val = BaseSetConfig(annotations=annotations, images=images or _images_beside(annotations))
    elif images:
        raise ConfigError("--images belongs to --annotations FILE")
    elif like is not None and like.data.val is not None:
        val = like.data.val
    else:
        raise ConfigError("say what to evaluate on: --annotations FILE --images FOLDER, or --run RUN with data.val")
    changes = {"max_images": max_images, "score_threshold": score_threshold}
    console = Console()
    with console.status("evaluating") as status:
        scores = evaluate_checkpoint(
            checkpoint,
            annotations=val,
            split_file=split or _split_of(like),
            like=like,
            evaluation={key: value for key, value in changes.items() if value is not None},
            settings=_SETTINGS[setting],
            protocol=_PROTOCOLS[protocol],
            output=json,
            on_progress=lambda done, total: status.update(f"evaluating: {done} of {total} images"),
        )
    print_scores(console, scores)


def _like(checkpoint: str, run: Path | None) -> RunConfig | None:
    from xpm_stream.registry.revisions import split_revision

    own = Path(split_revision(checkpoint)[0])
    if run is None and (own / "config.yaml").is_file():
        run = own
    return config_of_run(run) if run else None


def _split_of(like: RunConfig | None) -> str:
    return like.data.split.file if like is not None else RunConfig().data.split.file


def _images_beside(annotations: str) -> str:
    """COCO's layout: annotations/instances_val2017.json belongs to val2017/."""
    from xpm_stream.errors import ConfigError

    file = Path(annotations)
    folder = file.parent.parent / file.stem.partition("_")[2]
    if not file.stem.startswith("instances_") or not folder.is_dir():
        raise ConfigError(f"say where the images of {annotations} are: --images FOLDER")
    return str(folder)
