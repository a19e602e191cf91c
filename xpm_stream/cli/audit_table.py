"""The audit as a table."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from xpm_stream.label_queue import AuditReport

_COLUMNS = ("samples", "trained", "queued", "relabels", "skipped", "dead")


def print_audit(console: Console, report: AuditReport) -> None:
    """Print a line for each shard, the sums, and what does not add up."""
    table = Table(title="Where every sample is", title_justify="left")
    table.add_column("pass:shard", no_wrap=True)
    table.add_column("state")
    for name in (*_COLUMNS, "missing"):
        table.add_column(name, justify="right")
    for row in report.rows:
        numbers = [f"{getattr(row, name):,}" for name in _COLUMNS]
        missing = f"[bold red]{len(row.missing):,}[/]" if row.missing else "0"
        table.add_row(row.shard_key, row.state, *numbers, missing)
    totals = report.totals()
    table.add_section()
    table.add_row("all", "", *(f"{totals[name]:,}" for name in _COLUMNS), f"{totals['missing']:,}")
    console.print(table)
    if totals["never_readable"]:
        short = sum(1 for row in report.rows if row.never_readable)
        console.print(
            f"never readable: {totals['never_readable']:,} samples that the statistics beside shards count and the "
            f"tars do not hold (shards: {short:,}): see `xpm-stream shards list`",
            highlight=False,
        )
    for problem in report.problems():
        console.print(f"[bold red]does not add up:[/] {problem}", highlight=False)
    if report.in_motion:
        console.print(
            "samples moved during every look (labels given back, buried or replayed): whether any is queued twice "
            "cannot be said now; run it again",
            style="yellow",
            highlight=False,
        )
    if report.ok:
        console.print("everything adds up: samples = trained + queued + relabels + skipped + dead", style="green")
