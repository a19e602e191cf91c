"""A run at a glance in the terminal, from what its processes serve to Prometheus."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from xpm_stream.monitoring.scraping import Scrape, scrape_run
from xpm_stream.monitoring.view_parts import (
    ABSENT,
    bytes_text,
    clock_text,
    count_text,
    facts_table,
    rate_text,
    sparkline,
)

_RATE_OVER_S: Final = 15.0


@dataclass(slots=True)
class Rate:
    """Events a second over the last seconds, from a counter that may start anew."""

    seen: deque[tuple[float, float]] = field(default_factory=deque)

    def update(self, value: float | None) -> float | None:
        """Take a counter's value now; return its rate, or none while there is too little to tell."""
        now = time.monotonic()
        if value is None or (self.seen and value < self.seen[-1][1]):
            self.seen.clear()
        if value is None:
            return None
        self.seen.append((now, value))
        while now - self.seen[0][0] > _RATE_OVER_S:
            self.seen.popleft()
        first_at, first = self.seen[0]
        span = now - first_at
        return (value - first) / span if span > 1.0 else None


class RunView:
    """Looks at a run's processes and draws what they say."""

    def __init__(self, run_folder: Path, *, name: str, total_steps: int = 0) -> None:
        self._folder = run_folder
        self._name = name
        self._total_steps = total_steps
        self._started = time.monotonic()
        self._labelled, self._trained = Rate(), Rate()
        self._reliability: deque[float] = deque(maxlen=40)
        self._stage = "starting"
        self._scrape = Scrape(())
        self._rates: tuple[float | None, float | None] = (None, None)

    def enter(self, stage: str) -> None:
        """Say what the run does from now on."""
        self._stage = stage

    def look(self) -> None:
        """Ask the processes anew."""
        self._scrape = scrape = scrape_run(self._folder)
        self._rates = (
            self._labelled.update(scrape.total("xpm_labeler_samples_labelled_total")),
            self._trained.update(scrape.total("xpm_trainer_samples_trained_total")),
        )
        reliability = scrape.mean("xpm_labeler_reliability_ratio")
        if reliability is not None:
            self._reliability.append(reliability)

    def line(self) -> str:
        """Return one plain line, for where there is no terminal to draw in."""
        scrape = self._scrape
        parts = [f"{self._elapsed()} {self._stage}"]
        step = scrape.largest("xpm_trainer_step")
        if step is not None:
            parts.append(f"step {step:.0f}")
        losses = scrape.by_label("xpm_trainer_loss", "loss")
        if losses:
            parts.append(f"loss {sum(losses.values()):.3f}")
        version = scrape.largest("xpm_promoter_champion_version")
        if version:
            parts.append(f"teacher v{version:.0f}")
        labelled, trained = self._rates
        if labelled is not None:
            parts.append(f"labelled {labelled:.1f}/s")
        if trained is not None:
            parts.append(f"trained {trained:.1f}/s")
        unacked = scrape.largest("xpm_queue_unacked_labels")
        if unacked is not None:
            parts.append(f"queue {unacked:.0f}")
        return " · ".join(parts)

    def __rich__(self) -> RenderableType:
        scrape = self._scrape
        roles = ", ".join(sorted(scrape.roles)) or "none answers yet"
        head = Text.assemble(
            (f"{self._name}  ", "bold"), (self._stage, "cyan"), f"  {self._elapsed()}  ", (roles, "dim")
        )
        body = Table.grid(padding=(0, 3))
        for _ in range(3):
            body.add_column(vertical="top")
        body.add_row(self._stream(scrape), self._training(scrape), self._teacher(scrape))
        return Panel(Group(head, Text(), body), border_style="blue", padding=(0, 1))

    def _stream(self, scrape: Scrape) -> Table:
        labelled, trained = self._rates
        table = facts_table("stream")
        table.add_row("labelled", count_text(scrape.total("xpm_labeler_samples_labelled_total")), rate_text(labelled))
        again = scrape.total("xpm_labeler_samples_relabelled_total")
        if again:
            table.add_row("of these again", count_text(again), "stale")
        table.add_row("trained", count_text(scrape.total("xpm_trainer_samples_trained_total")), rate_text(trained))
        unacked = scrape.largest("xpm_queue_unacked_labels")
        table.add_row("queue", count_text(unacked), bytes_text(scrape.largest("xpm_queue_unacked_bytes")))
        shards = scrape.by_label("xpm_queue_shards", "state")
        known = sum(shards.values())
        table.add_row("shards", f"{shards.get('finished', 0):.0f} of {known:.0f}" if known else ABSENT, "finished")
        waiting = scrape.total("xpm_labeler_waiting_for_capacity") or 0
        table.add_row("waiting", f"{waiting:.0f}", "labelers")
        return table

    def _training(self, scrape: Scrape) -> Table:
        table = facts_table("trainer")
        step = scrape.largest("xpm_trainer_step")
        of = f"of {self._total_steps}" if self._total_steps else ""
        table.add_row("step", count_text(step), of)
        for name, value in sorted(scrape.by_label("xpm_trainer_loss", "loss").items()):
            table.add_row(name.replace("_", " "), f"{value:.3f}", "")
        return table

    def _teacher(self, scrape: Scrape) -> Table:
        table = facts_table("teacher")
        version = scrape.largest("xpm_promoter_champion_version")
        table.add_row("champion", f"v{version:.0f}" if version else "none yet", "")
        age = scrape.largest("xpm_labeler_teacher_age_seconds")
        table.add_row("age", clock_text(age) if age is not None else ABSENT, "")
        staleness = scrape.mean("xpm_trainer_staleness_promotions")
        table.add_row("staleness", f"{staleness:.2f}" if staleness is not None else ABSENT, "promotions")
        reliability = self._reliability[-1] if self._reliability else None
        table.add_row(
            "reliability",
            f"{reliability:.3f}" if reliability is not None else ABSENT,
            sparkline(self._reliability),
        )
        errors = scrape.by_label("xpm_errors_total", "kind")
        shown = ", ".join(f"{kind} {count:.0f}" for kind, count in errors.items()) or "none"
        table.add_row("errors", shown, "")
        return table

    def _elapsed(self) -> str:
        return clock_text(time.monotonic() - self._started)
