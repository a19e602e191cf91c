"""The append-only promotion log: numbered files created exclusively, so of racing promoters exactly one wins."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from xpm_stream.errors import PromotionConflict, RegistryError
from xpm_stream.records import TeacherVersion
from xpm_stream.registry.store import MAX_RECORD_BYTES, Store, open_store
from xpm_stream.registry.stored_records import SCHEMA_VERSION, decode_record

Action = Literal["promote", "refuse", "inconclusive", "rollback", "revoke"]


class PromotionEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the log."""

    schema_version: int = SCHEMA_VERSION
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

    @property
    def is_promotion(self) -> bool:
        """Whether this entry made a champion."""
        return self.action in ("promote", "rollback")

    @property
    def origin(self) -> int:
        """Number of the `promote` entry this is about: its own, or the one pointed at."""
        return self.number if self.target is None else self.target


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint the trainer proposes as teacher."""

    schema_version: int = SCHEMA_VERSION
    number: int  # 1-based, without gaps
    checkpoint: str
    epoch: int
    step: int
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    created_at_s: float


_Record = TypeVar("_Record", PromotionEntry, Candidate)


class PromotionLog:
    """Reads and appends the log below one fsspec URL. Not for sharing between threads: one instance for each."""

    def __init__(self, url: str | Path | Store, *, clock: Callable[[], float] = time.time) -> None:
        self._store: Store = open_store(url) if isinstance(url, str | Path) else url
        self._clock = clock
        # Files never change once written, so each is read once.
        self._entries: list[PromotionEntry] = []
        self._candidates: list[Candidate] = []

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
        entries = self.entries()
        last = len(entries)
        if after is not None and after != last:
            raise PromotionConflict(
                f"the log {self._store.url} has {last} entries, the decision rests on {after}: decide again"
            )
        if action in ("rollback", "revoke"):
            subject = self._pointed_at(action, target)
        else:
            subject = self._judged(checkpoint, epoch=epoch, step=step, candidate=candidate)
        entry = msgspec.structs.replace(
            subject,
            number=last + 1,
            action=action,
            reasons=list(reasons),
            checks=dict(checks or {}),
            created_at_s=self._clock(),
            by=by,
        )
        if not _create(self._store, "promotions", entry):
            raise PromotionConflict(f"another promoter wrote entry {entry.number} of {self._store.url}: decide again")
        return entry

    def entries(self) -> list[PromotionEntry]:
        """Return the whole log, oldest first.

        Raises:
            RegistryError: an entry is damaged or of a newer version.
        """
        self._entries.extend(_read_from(self._store, "promotions", len(self._entries) + 1, PromotionEntry))
        return list(self._entries)

    def poll(self, since: int) -> list[PromotionEntry]:
        """Return the entries numbered above `since`; costs one look for the next file when there are none."""
        return self.entries()[since:]

    def champion(self) -> PromotionEntry | None:
        """Return the highest promote or rollback entry that is not revoked, or none."""
        live = self._live()
        return live[-1] if live else None

    def revoked(self) -> frozenset[int]:
        """Numbers of the promote and rollback entries whose teacher is revoked: their labels must be relabelled."""
        entries = self.entries()
        targets = {entry.target for entry in entries if entry.action == "revoke"}
        return frozenset(entry.number for entry in entries if entry.is_promotion and entry.origin in targets)

    def lag(self, promotion: int) -> int:
        """How many promotions a label of teacher version `promotion` is behind the champion.

        Revoked promotions do not count, and a label of the teacher that a rollback brought back is not behind.
        """
        live = self._live()
        same = [entry.origin for entry in self._entries if entry.number == promotion and entry.is_promotion]
        newest = max((entry.number for entry in live if entry.origin in same), default=promotion)
        return sum(entry.number > newest for entry in live)

    def propose(
        self, checkpoint: str, *, epoch: int, step: int, metadata: Mapping[str, Any] | None = None
    ) -> Candidate:
        """Propose a checkpoint as teacher; proposing the same one again (after a crash) returns the first proposal."""
        while True:
            known = self.candidates()
            for candidate in known:
                if candidate.checkpoint == checkpoint:
                    return candidate
            candidate = Candidate(
                number=len(known) + 1,
                checkpoint=checkpoint,
                epoch=epoch,
                step=step,
                metadata=dict(metadata or {}),
                created_at_s=self._clock(),
            )
            if _create(self._store, "candidates", candidate):
                return candidate

    def candidates(self) -> list[Candidate]:
        """Return all candidates, oldest first.

        Raises:
            RegistryError: a candidate is damaged or of a newer version.
        """
        self._candidates.extend(_read_from(self._store, "candidates", len(self._candidates) + 1, Candidate))
        return list(self._candidates)

    def pending_candidates(self) -> list[Candidate]:
        """Return the candidates that no entry decides yet, oldest first."""
        # Candidates first: a decision seen is then never of a candidate unseen.
        candidates = self.candidates()
        decided = {entry.candidate for entry in self.entries()}
        return [candidate for candidate in candidates if candidate.number not in decided]

    def _live(self) -> list[PromotionEntry]:
        revoked = self.revoked()
        return [entry for entry in self._entries if entry.is_promotion and entry.number not in revoked]

    def _judged(self, checkpoint: str | None, *, epoch: int, step: int, candidate: int | None) -> PromotionEntry:
        if (checkpoint is None) == (candidate is None):
            raise RegistryError("give either the candidate's number or a checkpoint's name, epoch and step")
        if checkpoint is not None:
            return _blank(checkpoint=checkpoint, epoch=epoch, step=step)
        found = next((known for known in self.candidates() if known.number == candidate), None)
        if found is None:
            raise RegistryError(f"there is no candidate {candidate} in {self._store.url}")
        for entry in self._entries:
            if entry.candidate == candidate:
                raise PromotionConflict(
                    f"entry {entry.number} of {self._store.url} already decides candidate {candidate}"
                )
        return _blank(checkpoint=found.checkpoint, epoch=found.epoch, step=found.step, candidate=candidate)

    def _pointed_at(self, action: Action, target: int | None) -> PromotionEntry:
        promotions = {entry.number: entry for entry in self._entries if entry.is_promotion}
        if target is None or target not in promotions:
            numbers = ", ".join(map(str, promotions)) or "none yet"
            raise RegistryError(
                f"cannot {action} to or of entry {target} of {self._store.url}; promotions are: {numbers}"
            )
        origin = promotions[promotions[target].origin]
        if action == "rollback" and origin.number in self.revoked():
            raise RegistryError(f"cannot roll back to entry {target} of {self._store.url}: its teacher is revoked")
        return _blank(checkpoint=origin.checkpoint, epoch=origin.epoch, step=origin.step, target=origin.number)


def _blank(
    *, checkpoint: str, epoch: int, step: int, candidate: int | None = None, target: int | None = None
) -> PromotionEntry:
    return PromotionEntry(
        number=0,
        action="inconclusive",
        checkpoint=checkpoint,
        epoch=epoch,
        step=step,
        candidate=candidate,
        target=target,
        created_at_s=0.0,
        by="",
    )


def _create(store: Store, folder: str, record: PromotionEntry | Candidate) -> bool:
    """Write a numbered file; false: somebody else wrote that number first."""
    path = _path(folder, record.number)
    try:
        store.create(path, msgspec.json.format(msgspec.json.encode(record)) + b"\n")
    except FileExistsError:
        return False
    except OSError as error:
        raise RegistryError(f"cannot write {path} in {store.url}: {error}") from error
    return True


def _read_from(store: Store, folder: str, number: int, kind: type[_Record]) -> Iterator[_Record]:
    """Yield the files numbered from `number` up to the first that is missing."""
    while True:
        path = _path(folder, number)
        try:
            data = store.read(path, max_bytes=MAX_RECORD_BYTES)
        except FileNotFoundError:
            return
        record = decode_record(data, kind, path=path, url=store.url, if_damaged="restore it from a backup")
        if record.number != number:
            raise RegistryError(f"{path} in {store.url} says number {record.number}: restore it from a backup")
        yield record
        number += 1


def _path(folder: str, number: int) -> str:
    return f"{folder}/{number:08d}.json"
