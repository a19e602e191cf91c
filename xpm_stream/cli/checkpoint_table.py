"""The promotion log as a table."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from xpm_stream.cli.shard_table import utc
from xpm_stream.registry.collector import Collected
from xpm_stream.registry.promotion_log import Candidate, PromotionEntry

_STYLES: Final = {
    "promote": "green",
    "rollback": "yellow",
    "refuse": "red",
    "revoke": "bold red",
    "inconclusive": "yellow",
}
_MARKS: Final = {"pass": ("+", "green"), "fail": ("x", "bold red"), "unknown": ("?", "yellow")}


def print_history(
    console: Console,
    entries: Sequence[PromotionEntry],
    *,
    champion: PromotionEntry | None,
    revoked: Collection[int],
    pending: Sequence[Candidate],
) -> None:
    """Print a line for each entry, then what its gates measured, and what waits."""
    if not entries:
        console.print("no teacher has been proposed yet" if not pending else "no candidate is decided yet")
    for entry in entries:
        console.print(_headline(entry, champion=champion, revoked=revoked), soft_wrap=True)
        gates = entry.checks.get("gates", [])
        said = {gate["why"] for gate in gates}
        for reason in entry.reasons:
            if reason not in said:
                console.print(Text(f"     {reason}"), soft_wrap=True)
        if gates:
            console.print(gates_table(gates))
    for candidate in pending:
        console.print(Text(f"candidate {candidate.number}, {candidate.checkpoint}: not decided yet"), soft_wrap=True)


def _headline(entry: PromotionEntry, *, champion: PromotionEntry | None, revoked: Collection[int]) -> Text:
    line = Text()
    line.append(f"{entry.number:>3}  {utc(entry.created_at_s)}  ")
    line.append(f"{entry.action:<12}", style=_STYLES[entry.action])
    line.append(f" {entry.checkpoint}")
    if entry.target is not None:
        line.append(f" (of entry {entry.target})")
    line.append(f"  by {entry.by}", style="dim")
    if champion is not None and entry.number == champion.number:
        line.append("  <- champion", style="bold green")
    elif entry.number in revoked:
        line.append("  revoked", style="red")
    return line


def gates_table(gates: Sequence[dict[str, object]]) -> Table:
    """Return what gates measured: a line for each, with its outcome and why."""
    table = Table(box=None, show_header=False, padding=(0, 1), pad_edge=False)
    table.add_column(min_width=4)
    table.add_column()
    table.add_column()
    for gate in gates:
        mark, style = _MARKS[str(gate["outcome"])]
        table.add_row("", Text(f"{mark} {gate['gate']}", style=style), Text(str(gate["why"])))
    return table


def print_collected(console: Console, collected: Collected) -> None:
    """Print what became, or would become, of each checkpoint."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("checkpoint", "", "why"):
        table.add_column(name, overflow="fold")
    for what, found, style in (
        ("removed", dict.fromkeys(collected.removed, ""), "red"),
        ("waits", collected.waiting, "yellow"),
        ("marked", collected.marked, "yellow"),
        ("stays", collected.kept, ""),
    ):
        for checkpoint, why in found.items():
            table.add_row(Text(checkpoint), Text(what, style=style), Text(why))
    console.print(table)
    console.print(f"{len(collected.removed)} removed, {collected.removed_bytes / 1e6:,.1f} MB", highlight=False)
