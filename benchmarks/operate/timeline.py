"""Everything that happens, as it happens: windows, decisions, alerts, and what the demonstration does."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from rich.console import Console
from rich.text import Text

from benchmarks.operate.prometheus import Prometheus
from xpm_stream.monitoring.drift_records import WindowRecord
from xpm_stream.monitoring.drift_store import DriftStore
from xpm_stream.registry.promotion_log import PromotionLog
from xpm_stream.registry.store import open_store

Kind = Literal["act", "decision", "window", "alert", "over"]
_WINDOWS_AT_ONCE: Final = 8  # more do not close between two looks
_STYLES = {"act": "bold cyan", "decision": "", "window": "dim", "alert": "bold red", "over": "green"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of the timeline."""

    at_s: float  # since the demonstration began
    kind: Kind
    what: str
    facts: dict[str, Any] = field(default_factory=dict)


class Since:
    """The events from a moment on, by kind."""

    def __init__(self, events: Sequence[Event], *, place: int, at_s: float) -> None:
        self._events = events
        self._place = place
        self.at_s = at_s

    def windows(self, *, causes: Sequence[str] | None = None, teacher: str | None = None) -> list[Event]:
        """Windows, all or those with such a cause, or of such a teacher."""
        return [
            one
            for one in self._of("window")
            if (causes is None or one.facts["cause"] in causes) and (teacher is None or one.facts["teacher"] == teacher)
        ]

    def decisions(self, action: str | None = None, *, gate: str | None = None) -> list[Event]:
        """Entries of the promotion log, all or those of an action, or that a gate did not let pass."""
        return [
            one
            for one in self._of("decision")
            if action in (None, one.facts["action"]) and (gate is None or gate in one.facts["gates"])
        ]

    def alerts(self, name: str) -> list[Event]:
        """Times at which an alert began to fire."""
        return [one for one in self._of("alert") if one.facts["name"] == name]

    def over(self, name: str) -> list[Event]:
        """Times at which it ended."""
        return [one for one in self._of("over") if one.facts["name"] == name]

    def _of(self, kind: Kind) -> list[Event]:
        return [one for one in self._events[self._place :] if one.kind == kind]


class Timeline:
    """Looks at registry and Prometheus, and prints what is new."""

    def __init__(self, *, registry: str, prometheus: Prometheus, console: Console) -> None:
        self.events: list[Event] = []
        self._began = time.monotonic()
        self._log = PromotionLog(registry)
        self._drift = DriftStore(open_store(registry))
        self._prometheus = prometheus
        self._console = console
        self._entries = 0
        self._windows = 0
        self._firing: set[str] = set()

    @property
    def now_s(self) -> float:
        """Seconds since the demonstration began."""
        return time.monotonic() - self._began

    def act(self, what: str) -> None:
        """Note what the demonstration does now."""
        self._note("act", what)

    def look(self) -> None:
        """Note what is new."""
        for entry in self._log.poll(self._entries):
            self._entries = entry.number
            failed = [gate["gate"] for gate in entry.checks.get("gates", []) if gate["outcome"] != "pass"]
            why = f": {entry.reasons[0]}" if entry.action != "promote" and entry.reasons else ""
            self._note(
                "decision",
                f"entry {entry.number}: {entry.action} {entry.checkpoint}{why}",
                action=entry.action,
                number=entry.number,
                checkpoint=entry.checkpoint,
                gates=failed,
            )
        for window in self._drift.windows(most=_WINDOWS_AT_ONCE):
            if window.number > self._windows:
                self._windows = window.number
                self._note_window(window)
        alerts = self._prometheus.alerts()
        for name in sorted(alerts.keys() - self._firing):
            labels = alerts[name]["labels"]
            self._note("alert", f"{name} ({labels['severity']}): {alerts[name]['annotations']['summary']}", name=name)
        for name in sorted(self._firing - alerts.keys()):
            self._note("over", f"{name} is over", name=name)
        self._firing = set(alerts)

    def _note_window(self, window: WindowRecord) -> None:
        above = sorted({one.quantity for verdict in window.verdicts for one in verdict.above})
        if window.cause is None:
            said = "no drift"
        elif window.by_teacher_only:
            said = f"changed by its teacher only: {', '.join(above)}"
        else:
            said = f"drift ({window.cause}): {', '.join(above)}"
        median = (window.quantiles.get("reliability") or {}).get("0.5")
        reliability = "" if median is None else f", median reliability {median:.2f}"
        brake = ", brake on" if window.brake else ""
        self._note(
            "window",
            f"window {window.number}, {window.num_labels} labels of {window.teacher}{reliability}: {said}{brake}",
            number=window.number,
            cause=window.cause,
            brake=window.brake,
            teacher=window.teacher,
            current=next((one.status for one in window.verdicts if one.reference == "current_teacher"), None),
        )

    def mark(self) -> Since:
        """What happens from now on."""
        return Since(self.events, place=len(self.events), at_s=self.now_s)

    def write(self, path: Path) -> None:
        """Keep all events as JSON."""
        path.write_text(json.dumps([asdict(event) for event in self.events], indent=1) + "\n", encoding="utf-8")

    def _note(self, kind: Kind, what: str, **facts: Any) -> None:
        event = Event(at_s=round(self.now_s, 1), kind=kind, what=what, facts=facts)
        self.events.append(event)
        minutes, seconds = divmod(int(event.at_s), 60)
        mark = {"act": "==", "alert": "!!", "over": "ok"}.get(kind, "  ")
        self._console.print(Text(f"{minutes:3d}:{seconds:02d} {mark} {what}", style=_STYLES[kind]), soft_wrap=True)
