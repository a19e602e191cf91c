"""The `xpm-stream` command. Every command parses, imports its stage (torch only then), runs it, and prints."""

from __future__ import annotations

import sys
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from xpm_stream.cli import (
    checkpoints,
    corpora,
    datasets,
    dead,
    evaluation,
    labels,
    lexicon,
    predicting,
    reports,
    roles,
    runs,
    shards,
)
from xpm_stream.errors import XpmStreamError

app = typer.Typer(
    name="xpm-stream",
    help="Streaming, continual self-training for open-vocabulary segmentation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
runs.register(app)
evaluation.register(app)
predicting.register(app)
reports.register(app)
roles.register(app)
corpora.register(app)
datasets.register(app)
shards.register(app)
dead.register(app)
labels.register(app)
checkpoints.register(app)
lexicon.register(app)


@app.callback()
def _root(parent: Annotated[int | None, typer.Option("--end-with-parent", metavar="PID", hidden=True)] = None) -> None:
    """Streaming, continual self-training for open-vocabulary segmentation."""
    if parent is not None:
        from xpm_stream.stages.parent import end_with_parent

        end_with_parent(parent)


def main() -> None:
    """Run the command line; an error of ours, or a path that cannot be used, is one clear message and exit status 1."""
    try:
        app()
    except XpmStreamError as error:
        _fail(str(error))
    except OSError as error:
        if error.filename is None:
            raise
        _fail(f"cannot use {error.filename}: {error.strerror or error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(message: str) -> NoReturn:
    Console(stderr=True, soft_wrap=True).print(Text.assemble(("error:", "bold red"), " ", message))
    sys.exit(1)


if __name__ == "__main__":
    main()
