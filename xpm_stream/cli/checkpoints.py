"""`xpm-stream checkpoints`: the teachers of a run, and a person's decisions on them."""

from __future__ import annotations

import json
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from xpm_stream.cli.options import RunOrConfig, config_of

checkpoints = typer.Typer(help="Teachers: history, promote, rollback, revoke.", no_args_is_help=True)

Because = Annotated[str, typer.Option("--because", metavar="TEXT", help="why, for the log", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(checkpoints, name="checkpoints", rich_help_panel="Teachers")


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
