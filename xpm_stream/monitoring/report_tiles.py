"""The report's key figures, each with what it means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from xpm_stream.monitoring.report_data import ReportData
from xpm_stream.monitoring.standing import Absent
from xpm_stream.monitoring.times import utc_text
from xpm_stream.monitoring.view_parts import age_text, bytes_text

Tone = Literal["plain", "good", "bad", "absent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One figure."""

    name: str  # in the page's DOM too: data-tile
    value: str
    meaning: str
    tone: Tone = "plain"
    share: float | None = None  # of a budget, 0..1


def tiles_of(data: ReportData) -> list[Tile]:
    """Return the key figures, in the order they are read."""
    return [_champion(data), _accuracy(data), *_labels(data), _trained(data), *_queue(data), _brake(data)]


def _champion(data: ReportData) -> Tile:
    champion = data.standing.champion_entry
    if champion is None:
        return Tile(name="champion", value="none", meaning="no teacher is in force", tone="bad")
    age = age_text(data.standing.looked_at_s - champion.created_at_s)
    return Tile(
        name="champion",
        value=f"v{champion.number}",
        meaning=f"the teacher in force, of step {champion.step:,}, promoted {age} before this page was made",
    )


def _accuracy(data: ReportData) -> Tile:
    scores = data.champion_scores
    if scores is not None and (all_classes := scores.generalized.get("all")) and all_classes.mask_ap50 is not None:
        meaning = f"mask AP50 of the champion, all classes, on {scores.num_images:,} held-out images, percent"
        return Tile(name="champion AP50", value=f"{all_classes.mask_ap50:.1f}", meaning=meaning)
    champion = data.standing.champion_entry
    gates = [] if champion is None else champion.gates
    gate = next((one for one in gates if one.gate == "base_ap50" and one.value is not None), None)
    if gate is not None:
        meaning = "mask AP50 of the champion's base classes, as its gate measured it, percent"
        return Tile(name="champion AP50", value=f"{gate.value:.1f}", meaning=meaning)
    return Tile(name="champion AP50", value="–", meaning="the champion was not evaluated", tone="absent")


def _labels(data: ReportData) -> Iterator[Tile]:
    windows = data.standing.telling_windows
    if not windows:
        why = "no drift window was recorded, or none with enough labels"
        yield Tile(name="labels/s", value="–", meaning=why, tone="absent")
        yield Tile(name="reliability", value="–", meaning=why, tone="absent")
        return
    window = windows[-1]
    yield Tile(
        name="labels/s",
        value=f"{window.labels_per_second:.1f}",
        meaning=f"labels made each second in the last window, which closed {utc_text(window.ended_at_s)}",
    )
    found = window.quantiles.get("reliability")
    if found is None:
        yield Tile(name="reliability", value="–", meaning="the last window's labels have none", tone="absent")
        return
    yield Tile(
        name="reliability",
        value=f"{found['0.5']:.3f}",
        meaning=f"median of the last window's labels; half lie between {found['0.25']:.2f} and {found['0.75']:.2f}",
    )


def _trained(data: ReportData) -> Tile:
    training = data.training
    if isinstance(training, Absent):
        return Tile(name="samples trained", value="–", meaning=training.why, tone="absent")
    meaning = f"in the last durable checkpoint, of step {training.step:,}"
    return Tile(name="samples trained", value=f"{training.samples_trained:,}", meaning=meaning)


def _queue(data: ReportData) -> Iterator[Tile]:
    queue = data.standing.queue
    if isinstance(queue, Absent):
        for name in ("unacked labels", "dead letters"):
            yield Tile(name=name, value="–", meaning=queue.why, tone="absent")
        return
    share = max(queue.unacked_labels / queue.max_unacked_labels, queue.unacked_bytes / queue.max_unacked_bytes)
    yield Tile(
        name="unacked labels",
        value=f"{queue.unacked_labels:,}",
        meaning=f"not yet in a checkpoint; {bytes_text(queue.unacked_bytes)}, {share:.0%} of the budget",
        share=share,
    )
    pressing = any(concern.needs_person and "dead letters" in concern.what for concern in data.concerns)
    yield Tile(
        name="dead letters",
        value=f"{queue.dead_letters:,}",
        meaning="samples given up, kept with their reasons" if queue.dead_letters else "no sample was given up",
        tone="bad" if pressing else "plain",
    )


def _brake(data: ReportData) -> Tile:
    window = data.standing.last_window
    if window is None:
        return Tile(name="drift brake", value="–", meaning="no drift window was recorded", tone="absent")
    if window.brake:
        since = f" since {utc_text(window.brake_since_s)}" if window.brake_since_s is not None else ""
        return Tile(name="drift brake", value="on", meaning=f"promotions are held back{since}", tone="bad")
    return Tile(name="drift brake", value="off", meaning="drift holds no promotion back", tone="good")
