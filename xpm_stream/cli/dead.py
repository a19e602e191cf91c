"""`xpm-stream dead`: samples and labels that were given up; look at them, send them back, or give them up for good."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from xpm_stream.cli.options import RunPath, config_of
from xpm_stream.errors import ConfigError

if TYPE_CHECKING:
    from xpm_stream.stages.dead_letters import Choice, Letter

dead = typer.Typer(help="Dead letters: list, show, replay, purge.", no_args_is_help=True)

Reason = Annotated[str | None, typer.Option(help="only letters with this reason")]
Side = Annotated[Literal["labeler", "trainer"] | None, typer.Option(help="only letters of this side")]
Shard = Annotated[str | None, typer.Option(help="only samples of shards that match (URL, glob, folder or id)")]
Ids = Annotated[list[str] | None, typer.Argument(help="ids, as `dead list` prints them", show_default=False)]
Everything = Annotated[bool, typer.Option("--all", help="every letter")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(dead, name="dead", rich_help_panel="Data")


@dead.command(name="list")
def list_letters(
    run: RunPath,
    reason: Reason = None,
    side: Side = None,
    shard: Shard = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="letters shown; default: 50 in the table, all as JSON")
    ] = None,
    after: Annotated[str, typer.Option(metavar="ID", help="only letters behind this one")] = "0-0",
    as_json: Annotated[bool, typer.Option("--json", help="each letter as a line of JSON")] = False,
) -> None:
    """List dead letters, oldest first, and count them by reason."""
    from xpm_stream.cli.dead_table import print_counts, print_letters
    from xpm_stream.stages.dead_letters import Choice, letters_of

    with letters_of(config_of(run)) as letters:
        found = letters.each(Choice(reason=reason, side=side, shard=shard), after=after)
        if as_json:
            for place, letter in enumerate(found):
                if place == limit:
                    return
                typer.echo(json.dumps(_facts(letter)))
            return
        most = limit or 50
        shown: list[Letter] = []
        counts: Counter[tuple[str, str]] = Counter()
        for letter in found:
            counts[letter.dead.side, letter.dead.reason] += 1
            if len(shown) < most:
                shown.append(letter)
    console = Console()
    print_letters(console, shown)
    if counts.total() > len(shown):
        more = f"... and {counts.total() - len(shown):,} more: --after {shown[-1].dead.letter_id}, --limit, or --json"
        console.print(more, highlight=False)
    print_counts(console, counts)


@dead.command()
def show(run: RunPath, letter_id: Annotated[str, typer.Argument(metavar="ID", show_default=False)]) -> None:
    """Show everything about one letter: why, where, and the label it holds."""
    from xpm_stream.cli.dead_table import print_opened
    from xpm_stream.stages.dead_letters import letters_of

    with letters_of(config_of(run)) as letters:
        print_opened(Console(), letters.show(letter_id))


@dead.command()
def replay(
    run: RunPath,
    ids: Ids = None,
    reason: Reason = None,
    side: Side = None,
    shard: Shard = None,
    everything: Everything = False,
) -> None:
    """Have samples tried again: by the trainer where the letter holds a label, else read and labelled again."""
    from xpm_stream.stages.dead_letters import letters_of

    choice = _choice(ids, reason, side, shard, everything)
    with letters_of(config_of(run)) as letters:
        choice, number = letters.settle(choice)
        with _counted("replaying", number) as on_progress:
            done = letters.replay(choice, on_progress=on_progress)
    typer.echo(
        f"{done.to_stream + done.to_relabel:,} of {number:,} replayed: {done.to_stream:,} to the trainer, "
        f"{done.to_relabel:,} to the labelers"
    )
    if done.gone:
        typer.echo(f"{done.gone:,} were replayed or purged by somebody else meanwhile")
    if done.refused:
        typer.echo(f"{len(done.refused):,} could not be, because they name no sample: {', '.join(done.refused[:5])}")


@dead.command()
def purge(
    run: RunPath,
    ids: Ids = None,
    reason: Reason = None,
    side: Side = None,
    shard: Shard = None,
    everything: Everything = False,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Delete letters. Their samples are given up for good: the audit goes on counting them as dead."""
    from xpm_stream.stages.dead_letters import letters_of

    choice = _choice(ids, reason, side, shard, everything)
    with letters_of(config_of(run)) as letters:
        choice, number = letters.settle(choice)
        if number and not yes:
            _confirm(number)
        with _counted("purging", number) as on_progress:
            purged = letters.purge(choice, on_progress=on_progress)
    typer.echo(f"{purged:,} of {number:,} purged; their samples stay counted as dead")


def _confirm(number: int) -> None:
    if not sys.stdin.isatty():
        raise ConfigError(f"this gives the samples of {number:,} dead letters up for good: say --yes if it should")
    typer.confirm(f"Give the samples of {number:,} dead letters up for good?", abort=True)


def _choice(
    ids: list[str] | None,
    reason: str | None,
    side: Literal["labeler", "trainer"] | None,
    shard: str | None,
    everything: bool,
) -> Choice:
    from xpm_stream.stages.dead_letters import Choice

    choice = Choice(ids=tuple(ids or ()), reason=reason, side=side, shard=shard)
    narrowed = bool(reason or side or shard)
    if bool(choice.ids) + narrowed + everything != 1:
        raise ConfigError("say which letters: ids, or --reason, --side, --shard, or --all")
    return choice


@contextmanager
def _counted(doing: str, number: int) -> Iterator[Callable[[int], None]]:
    """Show on a terminal how far it is."""
    done = 0
    with Console(stderr=True).status(doing) as status:

        def on_progress(more: int) -> None:
            nonlocal done
            done += more
            status.update(f"{doing}: {done:,} of {number:,}")

        yield on_progress


def _facts(letter: Letter) -> dict[str, object]:
    given_up = letter.dead
    return {
        "id": given_up.letter_id,
        "died_at_s": given_up.died_at_s,
        "side": given_up.side,
        "reason": given_up.reason,
        "sample": None if given_up.sample is None else str(given_up.sample),
        "shard_url": letter.shard_url,
        "place": given_up.place,
        "attempts": given_up.attempts,
        "relabels": given_up.relabels,
        "message_bytes": given_up.message_bytes,
        "detail": given_up.detail,
    }
