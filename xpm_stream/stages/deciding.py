"""A person's decisions on teachers: promote one past the gates, roll back, revoke."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Sequence
from typing import Any

from xpm_stream.config import RunConfig
from xpm_stream.errors import RegistryError
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.registry.gates import GateResult
from xpm_stream.registry.holds import Holds
from xpm_stream.registry.promotion_log import Candidate, PromotionEntry, PromotionLog
from xpm_stream.stages.gate_keeping import check_files
from xpm_stream.stages.run_folder import RunFolder


class Desk:
    """The promotion log of a run, for people."""

    def __init__(self, config: RunConfig) -> None:
        url = RunFolder.of(config).registry_url(config)
        self._checkpoints = CheckpointStore(f"{url}/checkpoints")
        self._holds = Holds(url)
        self._log = PromotionLog(url)

    def champion(self) -> PromotionEntry | None:
        """Return the entry whose teacher labels now."""
        return self._log.champion()

    def promote(self, checkpoint: str | None, *, because: Sequence[str]) -> PromotionEntry:
        """Promote a candidate's checkpoint whatever the gates said; none: the newest candidate's.

        Files must be whole and weights finite all the same.

        Raises:
            RegistryError: there is no such candidate, or it must not be a teacher.
            PromotionConflict: somebody else wrote an entry meanwhile.
        """
        entries = self._log.entries()
        candidate = self._candidate(checkpoint)
        with self._holds.lease(candidate.checkpoint):  # else it could be removed between the look and the entry
            return self._promote(candidate, because, after=len(entries))

    def roll_back(self, target: int | None, *, because: Sequence[str]) -> PromotionEntry:
        """Make an earlier teacher the champion again; none: the one before the champion.

        Raises:
            RegistryError: there is none, or it is revoked.
            CheckpointError: its files are removed.
            PromotionConflict: somebody else wrote an entry meanwhile.
        """
        entries = self._log.entries()
        if target is None:
            target = self._before_champion(entries)
        named = {entry.number: entry.checkpoint for entry in entries}
        if target not in named:  # the log says what there is
            return self._log.append("rollback", by=_person(), target=target, reasons=because, after=len(entries))
        with self._holds.lease(named[target]):
            self._checkpoints.info(named[target])
            return self._log.append("rollback", by=_person(), target=target, reasons=because, after=len(entries))

    def revoke(self, target: int, *, because: Sequence[str]) -> PromotionEntry:
        """Take a teacher back for good: its labels that are still queued are made again by the champion.

        Raises:
            RegistryError: no promotion has that number, or no other teacher would be left.
            PromotionConflict: somebody else wrote an entry meanwhile.
        """
        entries = self._log.entries()
        origins = {entry.number: entry.origin for entry in entries if entry.is_promotion}
        revoked = self._log.revoked()
        left = [number for number, origin in origins.items() if number not in revoked and origin != origins.get(target)]
        if target in origins and not left:
            raise RegistryError(
                f"entry {target} is of the only teacher there is: promote another first "
                "(xpm-stream checkpoints promote), or labelers would have none"
            )
        return self._log.append("revoke", by=_person(), target=target, reasons=because, after=len(entries))

    def pin(self, checkpoint: str, *, reason: str) -> None:
        """Keep a checkpoint from being removed.

        Raises:
            CheckpointError: there is none of this name, or it is being removed.
        """
        self._checkpoints.info(checkpoint)
        self._holds.pin(checkpoint, by=_person(), reason=reason)

    def unpin(self, checkpoint: str) -> None:
        """Let a checkpoint be removed when its time comes."""
        self._holds.unpin(checkpoint)

    def _promote(self, candidate: Candidate, because: Sequence[str], *, after: int) -> PromotionEntry:
        files = check_files(self._checkpoints, candidate.checkpoint)
        if files.outcome != "pass":
            raise RegistryError(f"{candidate.checkpoint} cannot be a teacher: {files.why}")
        champion = self._log.champion()
        if champion is not None and champion.checkpoint == candidate.checkpoint:
            raise RegistryError(f"{candidate.checkpoint} is the champion already (entry {champion.number})")
        subject: dict[str, Any] = {"candidate": candidate.number}
        if any(entry.candidate == candidate.number for entry in self._log.entries()):  # a new entry, not its decision
            subject = {"checkpoint": candidate.checkpoint, "epoch": candidate.epoch, "step": candidate.step}
        return self._log.append(
            "promote", by=_person(), reasons=because, checks=_checks([files]), after=after, **subject
        )

    def _candidate(self, checkpoint: str | None) -> Candidate:
        candidates = self._log.candidates()
        found = [one for one in candidates if checkpoint in (None, one.checkpoint)]
        if not found:
            names = ", ".join(one.checkpoint for one in candidates[-5:]) or "none yet"
            raise RegistryError(f"no candidate {checkpoint or ''} was ever proposed; the last are: {names}")
        return found[-1]

    def _before_champion(self, entries: Sequence[PromotionEntry]) -> int:
        champion = self._log.champion()
        revoked = self._log.revoked()
        earlier = [
            entry
            for entry in entries
            if entry.is_promotion
            and entry.number not in revoked
            and champion is not None
            and entry.number < champion.origin
        ]
        if not earlier:
            raise RegistryError("there is no teacher before the champion to roll back to")
        return earlier[-1].origin


def _checks(gates: Sequence[GateResult]) -> dict[str, object]:
    return {"gates": [gate.as_dict() for gate in gates]}


def _person() -> str:
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):  # a container's user may have no name
        return f"somebody@{socket.gethostname()}"
