"""`xpm-stream lexicon`: rebuild the shipped lexicon, or look what it makes of a caption."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

lexicon = typer.Typer(help="The object nouns that ship with the package.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(lexicon, name="lexicon")


@lexicon.command()
def build(
    wordnet: Annotated[Path, typer.Argument(help="folder with WordNet 3.0's data.noun, index.noun, cntlist.rev, ...")],
    output: Annotated[Path, typer.Argument(help="lexicon file to write")],
) -> None:
    """Compile WordNet into a lexicon (needs nltk: pip install 'xpm-stream\\[lexicon]')."""
    from xpm_stream.text.lexicon_build import build_lexicon

    build_lexicon(wordnet, output)
    typer.echo(f"wrote {output} ({output.stat().st_size:,} bytes)")


@lexicon.command()
def nouns(captions: Annotated[list[str], typer.Argument(help="captions", show_default=False)]) -> None:
    """Print the object nouns of each caption."""
    from xpm_stream.text.caption_nouns import CaptionNouns

    finder = CaptionNouns.load()
    for caption in captions:
        typer.echo(", ".join(finder.find(caption)) or "(no object noun)")
