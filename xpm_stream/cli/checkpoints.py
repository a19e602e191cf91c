"""`xpm-stream checkpoints`: the teachers of a run, and a person's decisions on them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console

from xpm_stream.cli.options import RunOrConfig, config_of
from xpm_stream.config import RunConfig

if TYPE_CHECKING:
    from xpm_stream.stages.deciding import Desk

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


@contextlib.contextmanager
def _using_registry_of(config: RunConfig) -> Iterator[None]:
    """Turn what the system or a store refuses into one line that names the registry."""
    from xpm_stream.errors import RegistryError
    from xpm_stream.registry.store import without_credentials
    from xpm_stream.stages.run_folder import RunFolder

    try:
        yield
    except OSError as error:
        where = without_credentials(RunFolder.of(config).registry_url(config))
        raise RegistryError(f"cannot use the registry {where}: {error}") from error


@contextlib.contextmanager
def _desk_of(run: Path) -> Iterator[Desk]:
    from xpm_stream.stages.deciding import Desk

    config = config_of(run)
    with _using_registry_of(config):
        yield Desk(config)


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
    revision: Annotated[str | None, typer.Argument(help=_REVISION_HELP, show_default="champion")] = None,
    as_json: AsJson = False,
) -> None:
    """Show one checkpoint: its model card's facts, lineage, what the gates said, measures, and files."""
    from xpm_stream.cli.checkpoint_views import print_description
    from xpm_stream.registry.inventory import describe
    from xpm_stream.registry.revisions import find_revision, find_source, reading

    where, revision = _place_and_revision(where, revision)
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
    revision: Annotated[str | None, typer.Argument(help=_REVISION_HELP, show_default="champion")] = None,
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

    folder = pull_with_bar(*_place_and_revision(where, revision))
    typer.echo(folder if to is None else copy_checkpoint(folder, to))


@checkpoints.command()
def cache(
    keep: Annotated[
        int | None,
        typer.Option(min=1, help="remove all but so many, the last used, and what pulls that broke off left"),
    ] = None,
) -> None:
    """Show the checkpoints that pulls have brought to this machine, and remove old ones: nothing goes by itself."""
    from xpm_stream.cli.checkpoint_views import print_cached
    from xpm_stream.registry.cache import CheckpointCache
    from xpm_stream.registry.pulling import default_cache

    ours = CheckpointCache(default_cache())
    before = ours.copies()
    if keep is not None:
        ours.trim(keep=keep)
    print_cached(Console(), ours.copies(), before=before, where=str(ours.folder))


def _place_and_revision(where: str, revision: str | None) -> tuple[str, str]:
    """`RUN_OR_URL@REVISION` means the same as the two by themselves, as it does for `diff` and `evaluate`."""
    from xpm_stream.registry.revisions import split_revision

    return split_revision(where) if revision is None else (where, revision)


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
    described = []
    for where, revision in (one, (another[0] or one[0], another[1])):
        with reading(where):
            source = find_source(where)
            described.append((where, describe(source, find_revision(source, revision))))
    # Only now: a slip in B is not told after A has come.
    weights = [read_weights(pull_with_bar(where, shown.listed.info.name)) for where, shown in described]
    difference = compare_checkpoints(described[0][1], described[1][1], weights_a=weights[0], weights_b=weights[1])
    if as_json:
        typer.echo(msgspec.json.encode(difference).decode())  # not json.dumps: weights that are no numbers are null
        return
    print_difference(Console(), difference)


@checkpoints.command()
def history(
    where: Where,
    as_json: Annotated[bool, typer.Option("--json", help="each entry as a line of JSON")] = False,
) -> None:
    """Show every decision on a teacher, oldest first: what, when, by whom, what the gates measured, and why."""
    from xpm_stream.cli.checkpoint_table import print_history
    from xpm_stream.errors import RegistryError
    from xpm_stream.registry.promotion_log import PromotionLog
    from xpm_stream.registry.revisions import find_source, reading

    with reading(where):
        source = find_source(where)
        if source.alone is not None:
            raise RegistryError(f"{source.shown} is one checkpoint: the history is its registry's; name that")
        log = PromotionLog(source.url)
        entries, champion, revoked, pending = log.entries(), log.champion(), log.revoked(), log.pending_candidates()
    if as_json:
        for entry in entries:
            typer.echo(json.dumps(msgspec.to_builtins(entry)))
        return
    print_history(Console(), entries, champion=champion, revoked=revoked, pending=pending)


@checkpoints.command()
def promote(
    run: RunOrConfig,
    because: Because,
    checkpoint: Annotated[
        str | None, typer.Argument(help="a candidate's checkpoint; default: the newest candidate's", show_default=False)
    ] = None,
) -> None:
    """Promote a candidate whatever the gates said of it; files must be whole and weights finite."""
    with _desk_of(run) as desk:
        entry = desk.promote(checkpoint, because=[because])
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
    with _desk_of(run) as desk:
        entry = desk.roll_back(number, because=[because])
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
    with _desk_of(run) as desk:
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
    with _desk_of(run) as desk:
        desk.pin(checkpoint, reason=because)
    typer.echo(f"{checkpoint} stays until it is unpinned")


@checkpoints.command()
def unpin(
    run: RunOrConfig, checkpoint: Annotated[str, typer.Argument(help="a checkpoint's name", show_default=False)]
) -> None:
    """Let a pinned checkpoint be removed when its time comes."""
    with _desk_of(run) as desk:
        desk.unpin(checkpoint)
    typer.echo(f"{checkpoint} is not pinned")


@checkpoints.command()
def prune(
    run: RunOrConfig, dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be done")] = False
) -> None:
    """Remove teachers and candidates that nobody needs any more (`registry.keep_*`); marked first, removed later."""
    from xpm_stream.cli.checkpoint_table import print_collected
    from xpm_stream.stages.pruning import collect_checkpoints

    config = config_of(run)
    with _using_registry_of(config):
        collected = collect_checkpoints(config, dry_run=dry_run)
    print_collected(Console(), collected)
