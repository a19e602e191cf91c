"""`xpm-stream pretrain | teach | label | train | promote | watch`: one role in this process."""

from __future__ import annotations

from typing import Annotated

import typer

from xpm_stream.cli.options import ConfigPath, Overrides
from xpm_stream.config import load_config
from xpm_stream.methods import require_labeler


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (pretrain, teach, label, train, promote, watch):
        app.command(rich_help_panel="One role in this process")(command)


def pretrain(config: ConfigPath, overrides: Overrides = None) -> None:
    """Pretrain backbone and embedding head on caption images; `teacher.init: pretraining` starts from it."""
    loaded = load_config(config, overrides=overrides or ())
    from xpm_stream.stages.pretraining import run_pretraining

    run_pretraining(loaded)


def teach(config: ConfigPath, overrides: Overrides = None) -> None:
    """Train the first teacher on the base classes and propose it."""
    loaded = load_config(config, overrides=overrides or ())
    from xpm_stream.stages.teaching import run_teacher

    run_teacher(loaded)


def label(
    config: ConfigPath,
    overrides: Overrides = None,
    index: Annotated[int, typer.Option(help="number of this labeler on this machine", min=0)] = 0,
) -> None:
    """Label caption shards with the newest teacher."""
    loaded = load_config(config, overrides=overrides or ())
    require_labeler(loaded.method)
    from xpm_stream.stages.labeling import run_labeler

    run_labeler(loaded, index=index)


def train(config: ConfigPath, overrides: Overrides = None) -> None:
    """Train the student on the label stream."""
    loaded = load_config(config, overrides=overrides or ())
    require_labeler(loaded.method)
    from xpm_stream.stages.training import run_trainer

    run_trainer(loaded)


def promote(config: ConfigPath, overrides: Overrides = None) -> None:
    """Judge the trainer's candidates and promote teachers."""
    loaded = load_config(config, overrides=overrides or ())
    from xpm_stream.stages.promotion import run_promoter

    run_promoter(loaded)


def watch(
    config: ConfigPath,
    overrides: Overrides = None,
    new_reference: Annotated[
        bool, typer.Option("--new-reference", help="labels are well as they are now: begin a new frozen reference")
    ] = False,
) -> None:
    """Watch the label stream for drift, and hold promotions back while the data drifts."""
    loaded = load_config(config, overrides=overrides or ())
    from xpm_stream.stages.drift_watch import run_monitor

    run_monitor(loaded, new_reference=new_reference)
