"""`xpm-stream checkpoints`: the teachers of a run, and a person's decisions on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from xpm_stream.cli.options import RunOrConfig, config_of

checkpoints = typer.Typer(
    help="Teachers: find, pull and compare them; history, promote, rollback, revoke.", no_args_is_help=True
)

Where = Annotated[
    str,
    typer.Argument(
        metavar="RUN_OR_URL",
        help="run folder, its configuration, a registry's URL, or the URL of one checkpoint's folder",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of tables")]
_REVISION_HELP = "`champion`, the number of an entry of the log, or a checkpoint's name"
Because = Annotated[str, typer.Option("--because", metavar="TEXT", help="why, for the log", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(checkpoints, name="checkpoints", rich_help_panel="Teachers")


@checkpoints.command("list")
def list_(where: Where, as_json: AsJson = False) -> None:
    """Show the checkpoints that a registry has, with what became of each."""
    from xpm_stream.cli.checkpoint_views import print_listed
    from xpm_stream.registry.inventory import take_inventory
    from xpm_stream.registry.revisions import find_source, reading

    with reading(where):
        source = find_source(where)
        listed = take_inventory(source)
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(listed)))
        return
    print_listed(Console(), listed, where=source.shown)


@checkpoints.command()
def show(
    where: Where,
    revision: Annotated[str, typer.Argument(help=_REVISION_HELP)] = "champion",
    as_json: AsJson = False,
) -> None:
    """Show one checkpoint: its model card's facts, lineage, what the gates said, measures, and files."""
    from xpm_stream.cli.checkpoint_views import print_description
    from xpm_stream.registry.inventory import describe
    from xpm_stream.registry.revisions import find_revision, find_source, reading

    with reading(where):
        source = find_source(where)
        described = describe(source, find_revision(source, revision))
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(described)))
        return
    print_description(Console(), described)


@checkpoints.command()
def pull(
    where: Where,
    revision: Annotated[str, typer.Option("--revision", "-r", help=_REVISION_HELP)] = "champion",
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="copy it to this new folder", show_default=False)
    ] = None,
) -> None:
    """Bring a checkpoint to this machine and print its folder: `cd $(xpm-stream checkpoints pull URL)`.

    It comes into the user's cache (`XPM_STREAM_CACHE` names another), checked by sha256. An interrupted pull goes on
    where it was; what is there already is not brought again.
    """
    from xpm_stream.cli.pull_bar import pull_with_bar
    from xpm_stream.registry.cache import copy_checkpoint

    folder = pull_with_bar(where, revision)
    typer.echo(folder if to is None else copy_checkpoint(folder, to))


@checkpoints.command()
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="RUN_OR_URL, or RUN_OR_URL@REVISION", show_default=False)],
    b: Annotated[
        str, typer.Argument(metavar="B", help="the same; @REVISION alone: from where A is", show_default=False)
    ],
    as_json: AsJson = False,
) -> None:
    """Show what differs between two checkpoints: settings, words, measures, and how far each module's weights moved."""
    from xpm_stream.cli.checkpoint_views import print_difference
    from xpm_stream.cli.pull_bar import pull_with_bar
    from xpm_stream.registry.comparing import compare_checkpoints, read_weights
    from xpm_stream.registry.inventory import describe
    from xpm_stream.registry.revisions import find_revision, find_source, reading, split_revision

    one, another = split_revision(a), split_revision(b)
    described, weights = [], []
    for where, revision in (one, (another[0] or one[0], another[1])):
        with reading(where):
            source = find_source(where)
            found = find_revision(source, revision)
            described.append(describe(source, found))
        weights.append(read_weights(pull_with_bar(where, found.checkpoint)))
    difference = compare_checkpoints(*described, weights_a=weights[0], weights_b=weights[1])
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(difference)))
        return
    print_difference(Console(), difference)


@checkpoints.command()
def history(
    run: RunOrConfig,
    as_json: Annotated[bool, typer.Option("--json", help="each entry as a line of JSON")] = False,
) -> None:
    """Show every decision on a teacher, oldest first: what, when, by whom, what the gates measured, and why."""
    from xpm_stream.cli.checkpoint_table import print_history
    from xpm_stream.stages.deciding import Desk

    desk = Desk(config_of(run))
    entries = desk.entries()
    if as_json:
        for entry in entries:
            typer.echo(json.dumps(msgspec.to_builtins(entry)))
        return
    print_history(Console(), entries, champion=desk.champion(), revoked=desk.revoked(), pending=desk.pending())


@checkpoints.command()
def promote(
    run: RunOrConfig,
    because: Because,
    checkpoint: Annotated[
        str | None, typer.Argument(help="a candidate's checkpoint; default: the newest candidate's", show_default=False)
    ] = None,
) -> None:
    """Promote a candidate whatever the gates said of it; files must be whole and weights finite."""
    from xpm_stream.stages.deciding import Desk

    entry = Desk(config_of(run)).promote(checkpoint, because=[because])
    typer.echo(f"entry {entry.number}: {entry.checkpoint} is the champion; labelers load it at their next poll")


@checkpoints.command()
def rollback(
    run: RunOrConfig,
    because: Because,
    number: Annotated[
        int | None, typer.Argument(help="entry to go back to; default: the teacher before the champion", min=1)
    ] = None,
) -> None:
    """Make an earlier teacher the champion again."""
    from xpm_stream.stages.deciding import Desk

    entry = Desk(config_of(run)).roll_back(number, because=[because])
    typer.echo(
        f"entry {entry.number}: back to {entry.checkpoint} of entry {entry.target}; labelers load it at their next poll"
    )


@checkpoints.command()
def revoke(
    run: RunOrConfig,
    because: Because,
    number: Annotated[int, typer.Argument(help="entry whose teacher is taken back", min=1, show_default=False)],
) -> None:
    """Take a teacher back for good: what it labelled and nobody has trained yet is labelled again."""
    from xpm_stream.stages.deciding import Desk

    desk = Desk(config_of(run))
    entry = desk.revoke(number, because=[because])
    champion = desk.champion()
    assert champion is not None, "a revocation that leaves no teacher is refused"
    typer.echo(
        f"entry {entry.number}: {entry.checkpoint} is revoked; the champion is {champion.checkpoint} of entry "
        f"{champion.number}. Its labels still queued are labelled again"
    )


@checkpoints.command()
def pin(
    run: RunOrConfig,
    because: Because,
    checkpoint: Annotated[str, typer.Argument(help="a checkpoint's name", show_default=False)],
) -> None:
    """Keep a checkpoint from being removed."""
    from xpm_stream.stages.deciding import Desk

    Desk(config_of(run)).pin(checkpoint, reason=because)
    typer.echo(f"{checkpoint} stays until it is unpinned")


@checkpoints.command()
def unpin(
    run: RunOrConfig, checkpoint: Annotated[str, typer.Argument(help="a checkpoint's name", show_default=False)]
) -> None:
    """Let a pinned checkpoint be removed when its time comes."""
    from xpm_stream.stages.deciding import Desk

    Desk(config_of(run)).unpin(checkpoint)
    typer.echo(f"{checkpoint} is not pinned")


@checkpoints.command()
def prune(
    run: RunOrConfig, dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be done")] = False
) -> None:
    """Remove teachers and candidates that nobody needs any more (`registry.keep_*`); marked first, removed later."""
    from xpm_stream.cli.checkpoint_table import print_collected
    from xpm_stream.stages.pruning import collect_checkpoints

    print_collected(Console(), collect_checkpoints(config_of(run), dry_run=dry_run))
