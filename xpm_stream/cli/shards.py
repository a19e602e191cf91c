"""`xpm-stream shards`: packing caption shards, and the shards of a run."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from xpm_stream.cli.options import RunOrConfig, RunPath, config_of
from xpm_stream.errors import ConfigError

if TYPE_CHECKING:
    from xpm_stream.label_queue import ShardRow

shards = typer.Typer(help="Caption shards: pack; list, add, watch, retry, stream again.", no_args_is_help=True)

Patterns = Annotated[list[str], typer.Argument(help="fsspec URLs, brace ranges, globs, folders", show_default=False)]
ShardsOfRun = Annotated[
    list[str] | None,
    typer.Argument(help="which: URLs or their last parts (globs, brace ranges, folders), or ids", show_default=False),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(shards, name="shards", rich_help_panel="Data")


@shards.command()
def pack(
    captions: Annotated[str, typer.Argument(help="COCO captions JSON", show_default=False)],
    images: Annotated[str, typer.Argument(help="folder of the images", show_default=False)],
    output: Annotated[str, typer.Argument(help="folder for the shards", show_default=False)],
    samples_per_shard: Annotated[int, typer.Option(min=1)] = 1000,
) -> None:
    """Pack COCO captions and images into caption shards."""
    from xpm_stream.data.packing import pack_coco_captions

    report = pack_coco_captions(captions, images, output, samples_per_shard=samples_per_shard)
    typer.echo(f"{report.samples:,} samples with {report.captions:,} captions in {len(report.shards)} shards: {output}")
    if report.images_without_captions or report.empty_captions:
        left_out = f"{report.images_without_captions} images without captions, {report.empty_captions} empty captions"
        typer.echo(f"left out: {left_out}")


@shards.command(name="list")
def list_shards(
    run: RunPath,
    patterns: ShardsOfRun = None,
    state: Annotated[
        Literal["pending", "leased", "finished", "failed"] | None, typer.Option(help="only shards in this state")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="rows of the table")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="every shard as a line of JSON")] = False,
) -> None:
    """List a run's shards: who reads them, how far, what came of their samples, and what is wrong with them."""
    from xpm_stream.cli.shard_table import print_shards
    from xpm_stream.stages.shard_ledger import look_at_ledger

    ledger = look_at_ledger(config_of(run), patterns or (), state=state)
    if as_json:
        for row in ledger.rows:
            typer.echo(json.dumps(_facts(row)))
        return
    console = Console()
    print_shards(console, ledger.rows[:limit], now_s=ledger.now_s)
    if len(ledger.rows) > limit:
        console.print(f"... and {len(ledger.rows) - limit:,} more: --limit {len(ledger.rows)} or --json shows all")
    states: Counter[str] = Counter(row.state for row in ledger.rows)
    console.print(f"{_shards(len(ledger.rows))}{_listed(states)}", highlight=False)


@shards.command()
def add(
    run: RunOrConfig,
    patterns: Patterns,
    pass_index: Annotated[int, typer.Option("--pass", help="which pass over the corpus", min=0)] = 0,
) -> None:
    """Add shards to a run as they are now; those it knows are left alone."""
    from xpm_stream.stages.shard_registration import add_shards

    added, named = add_shards(config_of(run), patterns, pass_index=pass_index)
    typer.echo(f"{_shards(added)} added, {named - added:,} already known")


@shards.command()
def retry(run: RunPath, patterns: ShardsOfRun = None) -> None:
    """Have failed shards, all or some, read again from where they failed."""
    from xpm_stream.stages.shard_ledger import retry_shards

    retried = retry_shards(config_of(run), patterns or ())
    typer.echo(f"{_shards(retried)} pending again" if retried else "no failed shards there")


@shards.command()
def again(
    run: RunPath,
    patterns: ShardsOfRun = None,
    pass_index: Annotated[
        int | None, typer.Option("--pass", help="which pass; default: the one after each shard's last", min=0)
    ] = None,
) -> None:
    """Stream finished shards, all or some, in a further pass that is accounted on its own."""
    from xpm_stream.stages.shard_ledger import stream_again

    done = stream_again(config_of(run), patterns or (), pass_index=pass_index)
    typer.echo(f"{_shards(done.added)} added in a further pass")
    if done.known:
        typer.echo(f"{_shards(done.known)} already in that pass")
    if done.unfinished:
        typer.echo(f"{_shards(done.unfinished)} left alone: the last pass over them is not finished")
    for problem in done.changed:
        typer.echo(f"left alone: {problem}", err=True)
    if done.changed:
        raise typer.Exit(1)


@shards.command()
def watch(
    run: RunOrConfig,
    patterns: Annotated[
        list[str] | None, typer.Argument(help="globs, brace ranges or folders (any fsspec URL)", show_default=False)
    ] = None,
    stop: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="watch this pattern no more; repeatable")
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="print what is watched")] = False,
) -> None:
    """Have the labelers look for new shards while everything runs. The run does not end before the watch is stopped."""
    from xpm_stream.stages import shard_ledger

    config = config_of(run)
    if not (patterns or stop or show):
        raise ConfigError("shards watch: name a pattern, or use --list or --stop PATTERN")
    if stop:
        shard_ledger.stop_watching(config, stop)
        typer.echo(f"{len(stop)} watched no more; their shards stay")
    if patterns:
        for pattern, new in shard_ledger.watch(config, patterns).items():
            typer.echo(f"watching {pattern}" if new else f"{pattern} is watched already")
        typer.echo(f"labelers look every {config.data.watch_interval_s:g} s; the run ends only after `--stop`")
    if show:
        from xpm_stream.cli.shard_table import utc

        for pattern, since_s in shard_ledger.watched_patterns(config).items():
            typer.echo(f"{pattern}  since {utc(since_s)} UTC")


def _facts(row: ShardRow) -> dict[str, object]:
    return {
        "url": row.url,
        "shard_id": row.shard_id,
        "pass": row.pass_index,
        "state": row.state,
        "owner": row.owner,
        "lease_ends_ms": row.expires_ms,
        "size_bytes": row.size_bytes,
        "expected_samples": row.expected_samples,
        "samples": row.ordinal,
        "byte_offset": row.byte_offset,
        "labels": row.labels,
        "skipped": row.skipped,
        "dead": row.dead,
        "never_readable": row.never_readable,
        "damage": row.damage,
        "added_ms": row.added_ms,
        "finished_ms": row.finished_ms,
    }


def _shards(number: int) -> str:
    return f"{number:,} shard" if number == 1 else f"{number:,} shards"


def _listed(counts: Counter[str]) -> str:
    return ": " + ", ".join(f"{number:,} {name}" for name, number in counts.most_common()) if counts else ""
