"""What the drift monitor writes of each closed window: for the promoter (the brake), `status`, and the report."""

from __future__ import annotations

from typing import Literal

import msgspec

from xpm_stream.monitoring.drift_reference import DRIFT_SCHEMA_VERSION, decode_state
from xpm_stream.monitoring.drift_verdicts import DriftVerdict

Cause = Literal["teacher", "data", "both", "unknown"]


class WordInWindow(msgspec.Struct, frozen=True, kw_only=True):
    """One of a window's most frequent words."""

    word: str
    mentions: int  # labels whose captions name it
    reliability: float | None  # mean of its instances; None: it has none with a reliability


class QueueInWindow(msgspec.Struct, frozen=True, kw_only=True):
    """The label queue when the window was written; see `QueueStats`."""

    unacked_labels: int
    unacked_bytes: int
    oldest_label_age_s: float | None
    relabels: int
    dead_letters: int
    shards_pending: int
    shards_leased: int
    shards_finished: int
    shards_failed: int
    labels_committed: int
    labels_acknowledged: int


class ResumePoint(msgspec.Struct, frozen=True, kw_only=True):
    """What another monitor needs beside the record to go on behind it."""

    entry_id: str = ""  # of the last label read from the stream
    lost_by_redis: int = 0  # of the labels seen and missed, those that Redis' own count no longer has
    quiet_windows: int = 0  # windows in a row that were judged and would not have put the brake on


class WindowRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One closed window."""

    schema_version: int = DRIFT_SCHEMA_VERSION
    number: int  # 1-based
    started_at_s: float  # Unix time by Redis' clock: its first label was committed
    ended_at_s: float
    num_labels: int
    labels_seen: int  # so far, this window included
    labels_missed: int  # so far: deleted before the monitor came to them
    teacher: str  # version that most of its labels carry
    teachers: dict[str, int]  # version -> labels
    verdicts: list[DriftVerdict]  # one for each ready reference
    cause: Cause | None  # of the alarms together; None: no alarm
    quantiles: dict[str, dict[str, float] | None]  # "reliability", "score" -> "0.05" ... -> value; None: no values
    instances_per_label: float
    words: list[WordInWindow]  # most frequent first
    labels_per_second: float
    queue: QueueInWindow
    brake: bool  # whether drift holds promotions back from now on
    brake_since_s: float | None = None
    brake_reasons: list[str] = []  # for people: what put it on
    resume: ResumePoint = ResumePoint()

    @property
    def by_teacher_only(self) -> bool:
        """Whether what drifted is all the teacher's, and its labels are not trusted less: as a better one's drift."""
        return self.cause == "teacher" and not any(one.less_trusted or one.missing for one in self.verdicts)


def encode_window(record: WindowRecord) -> bytes:
    """Return the record as JSON."""
    return msgspec.json.encode(record)


def decode_window(data: bytes) -> WindowRecord:
    """Return a record from its JSON.

    Raises:
        DataError: it is none, or of a newer schema.
    """
    return decode_state(data, WindowRecord, what="drift window")
