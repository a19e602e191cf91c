"""The `xpm-stream` command. Every command parses, imports its stage (torch only then), runs it, and prints."""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from xpm_stream.cli import corpora, lexicon, roles, runs
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
roles.register(app)
corpora.register(app)
lexicon.register(app)


@app.callback()
def _root() -> None:
    """Streaming, continual self-training for open-vocabulary segmentation."""


def main() -> None:
    """Run the command line; an error of ours is one clear message and exit status 1."""
    try:
        app()
    except XpmStreamError as error:
        Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {_escape(str(error))}", highlight=False)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _escape(text: str) -> str:
    return text.replace("[", "\\[")


if __name__ == "__main__":
    main()
