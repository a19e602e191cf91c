"""Arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xpm_stream.config import RunConfig, load_config

ConfigPath = Annotated[Path, typer.Argument(help="configuration file (YAML)", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="override one value, e.g. --set trainer.steps=100; repeatable"),
]
RunOrConfig = Annotated[
    Path, typer.Argument(help="run folder, or the configuration file of a run to come", show_default=False)
]
RunPath = Annotated[Path, typer.Argument(help="run folder", show_default=False)]


def config_of(run: Path) -> RunConfig:
    """Return the configuration of a run folder, or of a run that has none yet."""
    return load_config(run if run.is_file() else run / "config.yaml")
