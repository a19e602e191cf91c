"""A run summary as people read it: tables for the terminal (rich) and for a README (Markdown)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich import box
from rich.bar import Bar
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from xpm_stream.monitoring.summary import FINAL_STUDENT, FIRST_TEACHER, RunSummary

_COLUMNS: Final = (
    ("constrained", "base"),
    ("constrained", "target"),
    ("generalized", "base"),
    ("generalized", "target"),
    ("generalized", "all"),
)
_MODEL_NAMES: Final = {FIRST_TEACHER: "first teacher", FINAL_STUDENT: "final student"}
_MEASURES: Final = (("mask_ap50", "mask AP50"), ("box_ap50", "box AP50"))
_ABSENT: Final = "–"
_ACTION_STYLES: Final = {
    "promote": "green",
    "refuse": "red",
    "revoke": "red",
    "inconclusive": "yellow",
    "rollback": "yellow",
}


def print_summary(summary: RunSummary, *, console: Console, commands: Sequence[tuple[str, str]] = ()) -> None:
    """Print what a run came to, then `commands`, pairs of (command, what it does), to try next.

    A command wider than the screen is broken by the terminal, not by us, so it can be copied as it stands.
    """
    console.print(render_summary(summary))
    for line in _command_lines(commands):
        console.print(line, soft_wrap=True)


def render_summary(summary: RunSummary, *, commands: Sequence[tuple[str, str]] = ()) -> RenderableType:
    """Return the same as one renderable, for a live view; commands fold at its width."""
    heading = Text.assemble((summary.name, "bold"), f"  method {summary.method}, seed {summary.seed}")
    parts: list[RenderableType] = [heading, *(Text(f"note: {note}", style="yellow") for note in summary.notes)]
    parts.append(final_table(summary))
    if summary.promotions:
        parts.append(promotion_table(summary))
    side_by_side = Table.grid(padding=(0, 6))
    side_by_side.add_row(accounting_table(summary), seconds_table(summary))
    parts.append(side_by_side)
    return Group(*(Padding(part, (0, 0, 1, 0)) for part in parts), *_command_lines(commands))


def _command_lines(commands: Sequence[tuple[str, str]]) -> list[Text]:
    if not commands:
        return []
    lines = [Text("Next", style="bold")]
    for command, purpose in commands:
        lines += [Text(f"  # {purpose}", style="dim"), Text(f"  {command}", style="cyan", overflow="fold")]
    return lines


def final_table(summary: RunSummary) -> Table:
    """Return teacher, student and gain: base, target and all, in both settings, masks beside boxes; AP50 in percent."""
    table = _table("Held-out AP50, percent")
    table.add_column("setting", no_wrap=True)
    table.add_column("classes", no_wrap=True)
    for _, title in _MEASURES:
        table.add_column(f"[bold]{title}[/bold]\nteacher", justify="right", no_wrap=True)
        table.add_column("\nstudent", justify="right", no_wrap=True)
        table.add_column("\ngain", justify="right", no_wrap=True)
    before = ""
    for setting, split in _COLUMNS:
        if before and setting != before:
            table.add_section()
        cells: list[RenderableType] = ["" if setting == before else setting, split]
        for measure, _ in _MEASURES:
            teacher, student = (
                summary.score(model, split, setting=setting, measure=measure)
                for model in (FIRST_TEACHER, FINAL_STUDENT)
            )
            gain = summary.gain(split, setting=setting, measure=measure)
            cells += [_number(teacher), Text(_number(student), style="bold"), _gain_text(gain)]
        table.add_row(*cells)
        before = setting
    return table


def promotion_table(summary: RunSummary) -> RenderableType:
    """Return the promotion log, with what each teacher's labels were worth where that is known, and why."""
    table = _table("Promotions")
    for title in ("teacher", "step", "after\nmin:s"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("decision", no_wrap=True)
    groups = list(dict.fromkeys(group for item in summary.promotions for group in item.accuracy))
    shows_labels = any(item.labels is not None for item in summary.promotions)
    shows_reliability = any(item.mean_reliability is not None for item in summary.promotions)
    if shows_labels:
        table.add_column("labelled\nimages", justify="right", no_wrap=True)
    for group in groups:
        table.add_column(f"right\n{group}", justify="right", no_wrap=True)
    if shows_reliability:
        table.add_column("mean\nreliability", justify="right", no_wrap=True)
    for item in summary.promotions:
        minutes, seconds = divmod(round(item.created_at_s - summary.promotions[0].created_at_s), 60)
        cells: list[RenderableType] = [
            f"v{item.number}",
            _ABSENT if item.epoch == 0 else f"{item.step:,}",  # 0: base training, before the stream
            f"{minutes}:{seconds:02d}",
            Text(item.action, style=_ACTION_STYLES.get(item.action, "")),
        ]
        if shows_labels:
            cells.append(_ABSENT if item.labels is None else f"{item.labels:,}")
        for group in groups:
            share = item.accuracy.get(group)
            cells.append(_ABSENT if share is None else f"{share:.1f}%")
        if shows_reliability:
            cells.append(_ABSENT if item.mean_reliability is None else f"{item.mean_reliability:.2f}")
        table.add_row(*cells)
    noteworthy = [item for item in summary.promotions if item.action != "promote"]
    reasons = [Text(f"v{item.number}: {why}", style="dim") for item in noteworthy for why in item.reasons]
    return Group(table, *reasons)


def accounting_table(summary: RunSummary) -> Table:
    """Return where every sample went; the last line says whether the books balance."""
    samples = summary.samples
    table = _table("Samples")
    table.add_column("", no_wrap=True)
    table.add_column("number", justify="right", no_wrap=True)
    table.add_row("read", f"{samples.read:,}")
    table.add_row("labelled", f"{samples.labelled:,}")
    if samples.relabelled:
        table.add_row("labelled again", f"{samples.relabelled:,}")
    table.add_section()
    table.add_row("trained", f"{samples.trained:,}", style="bold")
    if samples.replayed:
        table.add_row("replayed beside", f"{samples.replayed:,}")
    table.add_row("still queued", f"{samples.queued:,}")
    for reason, count in sorted(samples.skipped.items(), key=lambda pair: (-pair[1], pair[0])):
        table.add_row(f"skipped: {reason.replace('_', ' ')}", f"{count:,}")
    table.add_row("dead letters", f"{samples.dead:,}", style="red" if samples.dead else "")
    table.add_section()
    lost = samples.unaccounted
    table.add_row("unaccounted for", f"{lost:,}", style="green" if lost == 0 else "bold red")
    return table


def seconds_table(summary: RunSummary) -> Table:
    """Return how long each stage took."""
    table = _table("Time")
    table.add_column("stage", no_wrap=True)
    table.add_column("took", justify="right", no_wrap=True)
    table.add_column("", min_width=12)
    longest = max(summary.seconds.values(), default=0.0)
    for stage, seconds in summary.seconds.items():
        bar = Bar(max(longest, 1e-9), 0, seconds, width=12, color="cyan")
        table.add_row(stage.replace("_", " "), _duration(seconds), bar)
    table.add_section()
    table.add_row("all", _duration(sum(summary.seconds.values())), style="bold")
    return table


def markdown_table(summary: RunSummary, *, measure: str = "mask_ap50") -> str:
    """Return the table of teacher, student and gain as Markdown; `measure` is a field of SplitScores."""
    title = dict(_MEASURES).get(measure, measure.replace("_", " "))
    headings = [f"{setting}, {split}" for setting, split in _COLUMNS]
    lines = [
        "| " + " | ".join([title, *headings]) + " |",
        "|" + "|".join([" :-- ", *(" --: " for _ in headings)]) + "|",
    ]
    models = [name for name in (FIRST_TEACHER, FINAL_STUDENT) if name in summary.models]
    for model in models:
        values = [summary.score(model, split, setting=setting, measure=measure) for setting, split in _COLUMNS]
        lines.append("| " + " | ".join([_MODEL_NAMES[model], *(_number(value) for value in values)]) + " |")
    if len(models) > 1:
        gains = [summary.gain(split, setting=setting, measure=measure) for setting, split in _COLUMNS]
        lines.append("| " + " | ".join(["**gain**", *(f"**{_signed(gain)}**" for gain in gains)]) + " |")
    return "\n".join(lines) + "\n"


def _table(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        header_style="",
        pad_edge=False,
        collapse_padding=True,  # the widest table, the promotions', fits 80 columns
        show_edge=False,
    )


def _number(value: float | None) -> str:
    return _ABSENT if value is None else f"{value:.1f}"


def _signed(gain: float | None) -> str:
    return _ABSENT if gain is None else f"{gain:+.1f}"


def _gain_text(gain: float | None) -> Text:
    if gain is None or abs(gain) < 0.05:  # prints as zero
        return Text(_signed(gain), style="dim")
    return Text(_signed(gain), style="green" if gain > 0 else "red")


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
