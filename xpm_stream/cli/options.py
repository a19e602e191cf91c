"""Arguments that several commands share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final

import typer

from xpm_stream.config import RunConfig, config_of_run, load_config
from xpm_stream.errors import ConfigError

ConfigPath = Annotated[Path, typer.Argument(help="configuration file (YAML)", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="override one value, e.g. --set trainer.steps=100; repeatable"),
]
RunOrConfig = Annotated[
    Path, typer.Argument(help="run folder, or the configuration file of a run to come", show_default=False)
]
_LOCATION: Final = re.compile(r"[a-z][a-z0-9+]+:/")  # of a URL; Path makes one slash of two
RunPath = Annotated[Path, typer.Argument(help="run folder", show_default=False)]


def config_of(run: Path) -> RunConfig:
    """Return the configuration of a run folder, or of a run that has none yet.

    Raises:
        ConfigError: there is no such run, or its configuration cannot be used.
    """
    if _LOCATION.match(str(run)):
        raise ConfigError(
            f"{run} is no path: name the run's folder or configuration on this machine (its registry.url may be a URL)"
        )
    return load_config(run) if run.is_file() else config_of_run(run)
