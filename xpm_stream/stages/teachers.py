"""Following the promotion log: which teacher labels now, and loading it when it changes."""

from __future__ import annotations

import time

import structlog

from xpm_stream.config import RunConfig
from xpm_stream.methods.base import Method
from xpm_stream.records import TeacherVersion
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.registry.following import read_wanted
from xpm_stream.registry.promotion_log import PromotionEntry, PromotionLog
from xpm_stream.stages.network_files import CLASSES, LOADED_FILES, checkpoint_base_classes, load_network


class TeacherFollower:
    """Keeps a method's network at the teacher that the promotion log names."""

    def __init__(
        self, method: Method, *, config: RunConfig, checkpoints: CheckpointStore, promotions: PromotionLog
    ) -> None:
        self._method = method
        self._refresh = config.teacher.refresh
        self._poll_s = config.labeler.teacher_poll_s
        self._checkpoints = checkpoints
        self._promotions = promotions
        self._looked_at = float("-inf")
        self._entry: PromotionEntry | None = None
        self._log = structlog.get_logger()

    @property
    def version(self) -> TeacherVersion | None:
        """The loaded teacher, or none yet."""
        return self._entry.teacher if self._entry else None

    @property
    def promoted_at_s(self) -> float | None:
        """When the loaded teacher was promoted, Unix time."""
        return self._entry.created_at_s if self._entry else None

    def poll(self, *, at_once: bool = False) -> bool:
        """Look at the log, if it is time to or `at_once`; load the teacher it names; return whether it changed."""
        now = time.monotonic()
        if now - self._looked_at < self._poll_s and not at_once:
            return False
        self._looked_at = now
        found = read_wanted(self._checkpoints, self._newer, only=LOADED_FILES)
        if found is None:
            return False
        entry, files = found
        load_network(self._method, files, name=entry.checkpoint)
        self._method.teacher_changed()
        self._entry = entry
        self._log.info("teacher loaded", teacher=str(entry.teacher), checkpoint=entry.checkpoint, step=entry.step)
        return True

    def _newer(self) -> PromotionEntry | None:
        entry = self._wanted()
        loaded = entry is not None and self._entry is not None and entry.number == self._entry.number
        return None if loaded else entry

    def _wanted(self) -> PromotionEntry | None:
        """`never` (the paper): the first teacher that was promoted and not revoked, whatever came after."""
        if self._refresh == "on_promotion":
            return self._promotions.champion()
        revoked = self._promotions.revoked()
        kept = (e for e in self._promotions.entries() if e.action == "promote" and e.number not in revoked)
        return next(kept, None)


def first_base_classes(checkpoints: CheckpointStore, promotions: PromotionLog) -> list[str] | None:
    """Return the base classes of the champion, or none while nothing is promoted."""
    found = read_wanted(checkpoints, promotions.champion, only=[CLASSES])
    return None if found is None else checkpoint_base_classes(found[1], name=found[0].checkpoint)
