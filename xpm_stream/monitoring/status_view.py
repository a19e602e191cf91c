"""How a run stands, in a terminal of 80 columns: the same that the report tells, at a glance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from xpm_stream.monitoring.concerns import Concern
from xpm_stream.monitoring.report_timeline import reliability_quantiles, window_ratios
from xpm_stream.monitoring.standing import Absent, PromotionStanding, QueueStanding, RoleStanding, RunStanding
from xpm_stream.monitoring.view_parts import age_text, budget_bar, bytes_text, counted, sparkline

_SHOWN_PROMOTIONS: Final = 4
_SHOWN_TREND: Final = 40  # windows
_STATE_STYLES: Final = {"ready": "green", "not_ready": "yellow", "silent": "yellow", "killed": "bold red"}
_ACTION_STYLES: Final = {"promote": "green", "rollback": "yellow", "refuse": "red", "revoke": "red"}
_PHASES: Final = {
    "not_begun": "not begun",
    "running": "running",
    "stopped": "stopped",
    "finished": "finished",
    "unknown": "running or not: unknown",
}


def status_view(standing: RunStanding, concerns: Sequence[Concern]) -> RenderableType:
    """Return the whole view."""
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column()
    for name, lines in (
        ("roles", _roles(standing)),
        ("queue", _queue(standing)),
        ("shards", _shards(standing)),
        ("teacher", _teacher(standing)),
        ("promotions", _promotions(standing)),
        ("drift", _drift(standing)),
        ("reliability", _trend(standing)),
    ):
        for place, line in enumerate(lines):
            facts.add_row("" if place else name, line)
    return Group(_head(standing), *_verdict(concerns), Text(), facts)


def _head(standing: RunStanding) -> Text:
    return Text.assemble(
        (standing.name, "bold"), "  ", standing.method, "  ", (_PHASES[standing.phase], "cyan"), overflow="fold"
    )


def _verdict(concerns: Sequence[Concern]) -> Iterator[RenderableType]:
    pressing = [concern for concern in concerns if concern.needs_person]
    if pressing:
        yield Text(f"✗ needs a person: {counted(len(pressing), 'thing')}", style="bold red")
    else:
        yield Text("✓ healthy: nothing needs a person", style="bold green")
    for concern in concerns:
        line = Table.grid(padding=(0, 1, 0, 0))
        line.add_column(no_wrap=True)
        line.add_column()
        sign = Text("  !", style="bold red") if concern.needs_person else Text("  ·", style="dim")
        what = Text(concern.what)
        if concern.way_out:
            what.append(f"\n{concern.way_out}", style="dim")
        line.add_row(sign, what)
        yield line


def _roles(standing: RunStanding) -> Iterator[Text]:
    if isinstance(standing.roles, Absent):
        yield _quiet(standing.roles.why)
        return
    if not standing.roles:
        yield _quiet("none lives in this folder")
    for role in standing.roles:
        yield _role(role, now_s=standing.looked_at_s)


def _role(role: RoleStanding, *, now_s: float) -> Text:
    state = role.state.replace("_", " ")
    line = Text.assemble(f"{role.role:<9} ", (f"{state:<9}", _STATE_STYLES[role.state]))
    if role.alive:
        line.append(f" up {age_text(now_s - role.started_at_s)}")
    line.append(f"  pid {role.pid}", style="dim")
    if role.alive:
        line.append(f"  {role.url}", style="dim")
    for reason in role.reasons:
        line.append(f"\n  {reason}", style="yellow")
    return line


def _queue(standing: RunStanding) -> Iterator[Text]:
    queue = standing.queue
    if isinstance(queue, Absent):
        yield Text(queue.why)
        return
    yield budget_bar(queue.unacked_labels / queue.max_unacked_labels).append(
        f"  {queue.unacked_labels:,} of {queue.max_unacked_labels:,} labels unacknowledged"
    )
    yield budget_bar(queue.unacked_bytes / queue.max_unacked_bytes).append(
        f"  {bytes_text(queue.unacked_bytes)} of {bytes_text(queue.max_unacked_bytes)}"
    )
    parts = [f"{queue.labels_committed:,} labels made", f"{queue.labels_acknowledged:,} acknowledged"]
    if queue.oldest_label_age_s is not None:
        parts.append(f"oldest waits {age_text(queue.oldest_label_age_s)}")
    yield Text(" · ".join(parts))
    yield Text.assemble(
        f"{queue.relabels:,} to label again · ",
        counted(queue.dead_letters, "dead letter"),
    )


def _shards(standing: RunStanding) -> Iterator[Text]:
    queue: QueueStanding | Absent = standing.queue
    if isinstance(queue, Absent):
        yield _quiet("not known without the queue")
        return
    line = Text(f"{queue.shards_finished:,} of {queue.num_shards:,} finished")
    line.append(f" · {queue.shards_leased:,} leased · {queue.shards_pending:,} pending")
    if queue.shards_failed:
        line.append(f" · {queue.shards_failed:,} failed", style="red")
    yield line


def _teacher(standing: RunStanding) -> Iterator[Text]:
    champion = standing.champion_entry
    if champion is None:
        yield _quiet("no champion")
        return
    age = age_text(standing.looked_at_s - champion.created_at_s)
    line = Text.assemble((f"v{champion.number}", "bold"), f"  step {champion.step:,}, promoted {age} ago")
    if standing.candidates_pending:
        line.append(f" · {standing.candidates_pending:,} candidates undecided")
    yield line


def _promotions(standing: RunStanding) -> Iterator[Text]:
    if isinstance(standing.promotions, Absent):
        yield Text(standing.promotions.why)
        return
    if not standing.promotions:
        yield _quiet("none yet")
    for entry in reversed(standing.promotions[-_SHOWN_PROMOTIONS:]):
        yield _promotion(entry, now_s=standing.looked_at_s)


def _promotion(entry: PromotionStanding, *, now_s: float) -> Text:
    line = Text.assemble(
        f"v{entry.number:<4}",
        (f"{entry.action:<13}", _ACTION_STYLES.get(entry.action, "")),
        f"{age_text(now_s - entry.created_at_s):>10} ago  ",
    )
    if not entry.gates:
        line.append("no gates recorded", style="dim")
        return line
    failed = [gate for gate in entry.gates if gate.outcome == "fail"]
    line.append(f"{entry.num_gates('pass')} of {len(entry.gates)} gates")
    if unknown := entry.num_gates("unknown"):
        line.append(f", {unknown} unknown", style="dim")
    if failed:
        line.append(f", failed {', '.join(gate.gate for gate in failed)}", style="red")
    return line


def _drift(standing: RunStanding) -> Iterator[Text]:
    window = standing.last_window
    if window is None:
        yield _quiet(standing.windows.why if isinstance(standing.windows, Absent) else "no window yet")
        return
    age = age_text(standing.looked_at_s - window.ended_at_s)
    yield Text(f"window {window.number:,}, {window.num_labels:,} labels, closed {age} ago, teacher {window.teacher}")
    if not window.verdicts:
        yield _quiet("no reference is ready yet: nothing is judged")
    ratios = window_ratios(window)
    for verdict in window.verdicts:
        line = Text.assemble(f"{verdict.reference:<17} ", _verdict_text(verdict.status))
        furthest = next((one for one in ratios if one.reference == verdict.reference), None)
        if furthest is not None:
            line.append(f" {furthest.quantity.replace('_', ' ')} {furthest.ratio:.2f} × threshold", style="dim")
        yield line
    if window.cause is not None:
        yield Text(f"cause: {window.cause}", style="red")
    if window.brake:
        yield Text("brake on: nothing is promoted", style="bold red")
    else:
        yield Text("brake off")


def _verdict_text(status: str) -> tuple[str, str]:
    return {"drift": ("drift    ", "bold red"), "no_drift": ("no drift ", "green")}.get(
        status, ("too few labels", "dim")
    )


def _trend(standing: RunStanding) -> Iterator[Text]:
    if isinstance(standing.windows, Absent):
        yield _quiet("not known without drift windows")
        return
    medians = [row[2] for record in standing.telling_windows if (row := reliability_quantiles(record)) is not None]
    if not medians:
        yield _quiet("no window has enough labels with one")
        return
    shown = medians[-_SHOWN_TREND:]
    trend = sparkline(shown, length=_SHOWN_TREND)
    yield Text.assemble((f"{trend} " if trend else "", "blue"), (f"{shown[-1]:.3f}", "bold"), " median")
    if len(shown) > 1:
        yield _quiet(f"{min(shown):.3f} to {max(shown):.3f} in the last {len(shown)} windows")


def _quiet(text: str) -> Text:
    return Text(text, style="dim")
