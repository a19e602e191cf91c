"""How a run stands at one moment: its processes, queue, promotions and drift windows. Pure records, for views to draw.

What could not be found out is `Absent` with the reason: never a zero, never an empty list.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from xpm_stream.monitoring.drift_records import WindowRecord

STANDING_SCHEMA_VERSION: Final = 1
RoleState = Literal["ready", "not_ready", "silent", "killed"]
Phase = Literal["not_begun", "running", "stopped", "finished", "unknown"]
GateOutcome = Literal["pass", "fail", "unknown"]


class Absent(msgspec.Struct, frozen=True, tag_field="kind", tag="absent"):
    """Something that could not be looked at."""

    why: str


class RoleStanding(msgspec.Struct, frozen=True, kw_only=True):
    """One process of the run, as its endpoint file and its answers say."""

    role: str
    pid: int
    hostname: str
    url: str
    started_at_s: float  # Unix time
    state: RoleState  # silent: it lives and does not answer; killed: it left its endpoint file and is gone
    reasons: list[str]  # why it is not ready

    @property
    def alive(self) -> bool:
        """Whether the process is there."""
        return self.state != "killed"


class QueueStanding(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="queue"):
    """The queue's counts and budgets."""

    unacked_labels: int
    max_unacked_labels: int
    unacked_bytes: int
    max_unacked_bytes: int
    oldest_label_age_s: float | None  # None: there is no label
    relabels: int
    dead_letters: int
    dead_by_reason: dict[str, int]
    skipped_by_reason: dict[str, int]
    shards_pending: int
    shards_leased: int
    shards_finished: int
    shards_failed: int
    lease_expiries: int
    labels_committed: int
    labels_acknowledged: int
    finished: bool  # the trainer has left its mark that the run is over

    @property
    def num_shards(self) -> int:
        """All shards known."""
        return self.shards_pending + self.shards_leased + self.shards_finished + self.shards_failed


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """What one promotion gate said of one candidate."""

    gate: str
    outcome: GateOutcome
    value: float | None = None
    limit: float | None = None
    why: str = ""


class PromotionStanding(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the promotion log."""

    number: int
    action: str  # promote, refuse, inconclusive, rollback, revoke
    checkpoint: str
    epoch: int
    step: int
    created_at_s: float
    by: str
    target: int | None
    reasons: list[str]
    gates: list[Gate]  # empty: the entry has none

    def num_gates(self, outcome: GateOutcome) -> int:
        """Return how many gates came out so."""
        return sum(gate.outcome == outcome for gate in self.gates)


class RunStanding(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    schema_version: int = STANDING_SCHEMA_VERSION
    name: str
    method: str
    folder: str
    looked_at_s: float
    phase: Phase
    roles: list[RoleStanding] | Absent
    queue: QueueStanding | Absent
    promotions: list[PromotionStanding] | Absent  # oldest first
    champion: int | None  # its number
    revoked: list[int]
    candidates_pending: int
    failures_in_a_row: int  # candidates refused or undecided since the last promotion, rollback or revocation
    max_failures: int | None  # None: gates are off, and nothing counts failures
    windows: list[WindowRecord] | Absent  # oldest first
    min_window_labels: int  # smaller windows are not judged, and too small to say anything

    @property
    def champion_entry(self) -> PromotionStanding | None:
        """The champion's entry in the log."""
        if isinstance(self.promotions, Absent) or self.champion is None:
            return None
        return next((entry for entry in self.promotions if entry.number == self.champion), None)

    @property
    def telling_windows(self) -> list[WindowRecord]:
        """The windows with enough labels to say something: a teacher's last one, cut short, may hold a single label."""
        windows = [] if isinstance(self.windows, Absent) else self.windows
        return [window for window in windows if window.num_labels >= self.min_window_labels]

    @property
    def last_window(self) -> WindowRecord | None:
        """The newest window, where there is one."""
        return None if isinstance(self.windows, Absent) or not self.windows else self.windows[-1]


def gates_of(checks: dict[str, Any]) -> list[Gate]:
    """Return the gates of a promotion entry's checks; what cannot be read is an unknown gate that says so."""
    found = checks.get("gates", [])
    try:
        return msgspec.convert(found, list[Gate])
    except msgspec.ValidationError as error:
        return [Gate(gate="gates", outcome="unknown", why=f"the entry's gates cannot be read: {error}")]
