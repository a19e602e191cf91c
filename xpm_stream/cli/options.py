"""Arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigPath = Annotated[Path, typer.Argument(help="configuration file (YAML)", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="override one value, e.g. --set trainer.steps=100; repeatable"),
]
RunOrConfig = Annotated[
    Path, typer.Argument(help="run folder, or the configuration file of a run to come", show_default=False)
]
RunPath = Annotated[Path, typer.Argument(help="run folder", show_default=False)]
