"""Removing old checkpoints in two steps, a mark and later the removal, so that who reads one can finish."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from xpm_stream.errors import CheckpointError
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.registry.holds import Holds
from xpm_stream.registry.promotion_log import PromotionLog
from xpm_stream.registry.retention import RetentionPolicy, kept_checkpoints


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What one pass did, or would do."""

    kept: dict[str, str]  # checkpoint -> why
    marked: dict[str, str]  # newly; to be removed later -> why
    waiting: dict[str, str]  # marked before -> what is waited for
    removed: list[str]
    removed_bytes: int


class Collector:
    """Removes what the policy does not keep. Any number may work on one registry; none undoes another's work."""

    def __init__(
        self,
        *,
        checkpoints: CheckpointStore,
        promotions: PromotionLog,
        holds: Holds,
        policy: RetentionPolicy,
        remove_after_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._checkpoints = checkpoints
        self._promotions = promotions
        self._holds = holds
        self._policy = policy
        self._remove_after_s = remove_after_s
        self._clock = clock

    def collect(self, *, dry_run: bool = False) -> Collected:
        """Mark what may go, and remove what was marked `remove_after_s` ago and is read by nobody.

        Raises:
            RegistryError: a file of the registry is damaged; nothing is removed on a guess.
            OSError: the registry cannot be reached, or not be written.
        """
        marks = self._holds.marks()
        # In this order. A rollback to a marked checkpoint is appended under a lease: were the log read first, it could
        # be appended, and its lease be gone, in between. A lease that is taken from here on sees the mark.
        leased = self._holds.leased()
        infos = {info.name: info for info in self._checkpoints.list()}
        now_s = self._clock()
        kept = kept_checkpoints(
            self._promotions.entries(),
            self._promotions.candidates(),
            infos.values(),
            pinned=self._holds.pins(),
            policy=self._policy,
            now_s=now_s,
        )
        marked: dict[str, str] = {}
        waiting: dict[str, str] = {}
        removed: list[str] = []
        for name, mark in marks.items():
            if name in kept or name not in infos:
                if not dry_run:
                    self._holds.unmark(name)
            elif name in leased:
                waiting[name] = f"read by {leased[name]}"
            elif now_s < mark.not_before_s:
                waiting[name] = f"removed in {mark.not_before_s - now_s:.0f} s"
            else:
                self._remove(name, dry_run=dry_run)
                removed.append(name)
        for name, info in infos.items():
            if name not in kept and name not in marks:
                marked[name] = f"step {info.metadata.get('step', 'unknown')}, not kept by registry.keep_*"
                if not dry_run:
                    self._holds.mark(name, why=marked[name], remove_after_s=self._remove_after_s)
        return Collected(
            kept={name: why for name, why in kept.items() if name in infos},
            marked=marked,
            waiting=waiting,
            removed=removed,
            removed_bytes=sum(infos[name].size for name in removed),
        )

    def _remove(self, name: str, *, dry_run: bool) -> None:
        if dry_run:
            return
        with contextlib.suppress(CheckpointError):  # another collector was first
            self._checkpoints.delete(name)
        self._holds.unmark(name)
