"""The append-only promotion log: numbered files created exclusively, so of racing promoters exactly one wins."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from xpm_stream.records import TeacherVersion
from xpm_stream.registry.store import Store, open_store

Action = Literal["promote", "refuse", "inconclusive", "rollback", "revoke"]


class PromotionEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the log."""

    schema_version: int = 1
    number: int  # 1-based, without gaps
    action: Action
    checkpoint: str  # the checkpoint judged; for rollback and revoke, that of the entry pointed at
    epoch: int  # trainer epoch it came from (0: teacher training)
    step: int  # optimiser step it came from
    candidate: int | None = None  # number of the candidate this decides
    target: int | None = None  # rollback, revoke: number of the `promote` entry pointed at
    reasons: list[str] = msgspec.field(default_factory=list)  # for people: why
    checks: dict[str, Any] = msgspec.field(default_factory=dict)  # gate report, JSON values
    created_at_s: float  # Unix time
    by: str  # who decided: a role and process, or a person

    @property
    def teacher(self) -> TeacherVersion:
        """The version that labels of this entry's teacher carry."""
        return TeacherVersion(promotion=self.number, epoch=self.epoch, step=self.step)


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint the trainer proposes as teacher."""

    schema_version: int = 1
    number: int  # 1-based, without gaps
    checkpoint: str
    epoch: int
    step: int
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    created_at_s: float


class PromotionLog:
    """Reads and appends the log below one fsspec URL. Not for sharing between threads: one instance for each."""

    def __init__(self, url: str | Path | Store, *, clock: Callable[[], float] = time.time) -> None:
        self._store: Store = open_store(url) if isinstance(url, str | Path) else url
        self._clock = clock

    def append(
        self,
        action: Action,
        *,
        by: str,
        checkpoint: str | None = None,
        epoch: int = 0,
        step: int = 0,
        candidate: int | None = None,
        target: int | None = None,
        reasons: Sequence[str] = (),
        checks: Mapping[str, Any] | None = None,
        after: int | None = None,
    ) -> PromotionEntry:
        """Append one entry.

        promote, refuse, inconclusive: give `candidate` (its checkpoint, epoch and step are taken from it), or
        `checkpoint`, `epoch` and `step` for one that nobody proposed (the first teacher, a person's choice).
        rollback, revoke: give `target`, the number of an earlier promote or rollback entry.

        `after` is the number of the last entry the decision rests on; none: the log is read now.

        Raises:
            PromotionConflict: another wrote an entry since `after`, or the candidate is already decided; read again
                and decide again.
            RegistryError: the target is missing, was no promotion, or (rollback) is revoked.
        """
        raise NotImplementedError

    def entries(self) -> list[PromotionEntry]:
        """Return the whole log, oldest first."""
        raise NotImplementedError

    def poll(self, since: int) -> list[PromotionEntry]:
        """Return the entries numbered above `since`; costs one look for the next file when there are none."""
        raise NotImplementedError

    def champion(self) -> PromotionEntry | None:
        """Return the highest promote or rollback entry that is not revoked, or none."""
        raise NotImplementedError

    def revoked(self) -> frozenset[int]:
        """Numbers of the promote and rollback entries whose teacher is revoked: their labels must be relabelled."""
        raise NotImplementedError

    def lag(self, promotion: int) -> int:
        """How many promotions a label of teacher version `promotion` is behind; revoked promotions do not count."""
        raise NotImplementedError

    def propose(
        self, checkpoint: str, *, epoch: int, step: int, metadata: Mapping[str, Any] | None = None
    ) -> Candidate:
        """Propose a checkpoint as teacher; proposing the same one again (after a crash) returns the first proposal."""
        raise NotImplementedError

    def candidates(self) -> list[Candidate]:
        """Return all candidates, oldest first."""
        raise NotImplementedError

    def pending_candidates(self) -> list[Candidate]:
        """Return the candidates that no entry decides yet, oldest first."""
        raise NotImplementedError
