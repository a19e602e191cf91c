"""Everything a report shows, collected: pure records, with `Absent` and its reason for what could not be had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from xpm_stream.monitoring.concerns import Concern
from xpm_stream.monitoring.report_pictures import MaskPictures
from xpm_stream.monitoring.standing import Absent, PromotionStanding, RunStanding
from xpm_stream.monitoring.summary import ModelScores

SHOWN_SHARDS: Final = 200
SHOWN_PROMOTIONS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLine:
    """Where the samples of one shard are."""

    shard: str  # URL, without credentials
    pass_index: int
    state: str
    samples: int
    trained: int
    queued: int
    relabels: int
    skipped: int
    dead: int
    missing: int
    doubled: int

    @property
    def ok(self) -> bool:
        """Whether it adds up."""
        return not (self.missing or self.doubled)


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """Where every sample is."""

    totals: Mapping[str, int]
    lines: Sequence[AuditLine]  # what does not add up first
    problems: Sequence[str]
    in_motion: bool
    skipped_by_reason: Mapping[str, int]
    dead_by_reason: Mapping[str, int]

    @property
    def ok(self) -> bool:
        """Whether everything adds up."""
        return all(line.ok for line in self.lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A key of the configuration that is not at its default."""

    key: str
    value: str
    default: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What the trainer's last durable checkpoint says."""

    step: int
    samples_trained: int
    samples_relabelled: int
    samples_replayed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportData:
    """All of it."""

    standing: RunStanding
    concerns: Sequence[Concern]
    training: Training | Absent
    audit: Audit | Absent
    pictures: MaskPictures | Absent
    scores: Sequence[ModelScores] | Absent
    settings: Sequence[Setting]
    versions: Mapping[str, str]

    @property
    def healthy(self) -> bool:
        """Whether nothing needs a person."""
        return not any(concern.needs_person for concern in self.concerns)

    @property
    def champion_scores(self) -> ModelScores | None:
        """The champion's evaluation, where there is one."""
        champion = self.standing.champion_entry
        if champion is None or isinstance(self.scores, Absent):
            return None
        return next((one for one in self.scores if one.checkpoint == champion.checkpoint), None)

    @property
    def promotions(self) -> Sequence[PromotionStanding]:
        """The promotion log, oldest first; empty where it cannot be read."""
        return [] if isinstance(self.standing.promotions, Absent) else self.standing.promotions


def audit_concerns(audit: Audit | Absent) -> list[Concern]:
    """Return what the audit adds to what is to be said."""
    if isinstance(audit, Absent):
        return []
    found = [Concern(needs_person=True, what=f"the audit does not add up: {problem}") for problem in audit.problems[:5]]
    if len(audit.problems) > 5:
        found.append(Concern(needs_person=True, what=f"and {len(audit.problems) - 5:,} more such shards"))
    return found
