"""How far behind the champion a label's teacher is, counted when the label is trained."""

from __future__ import annotations

import time
from typing import Final

from xpm_stream.records import TeacherVersion
from xpm_stream.registry.promotion_log import PromotionLog

_LOOK_EVERY_S: Final = 1.0  # the log may be on a remote store: one look a second is fresh enough


class Staleness:
    """Answers from the promotion log, looked at no more than once a second."""

    def __init__(self, promotions: PromotionLog, *, max_lag: int | None) -> None:
        """Call labels stale that are more than `max_lag` promotions behind; none: no label ever is."""
        self._promotions = promotions
        self._max_lag = max_lag
        self._looked_at = float("-inf")
        self._lags: dict[int, int] = {}
        self._revoked: frozenset[int] = frozenset()

    def lag(self, teacher: TeacherVersion) -> int:
        """Return how many promotions ago this teacher labelled."""
        self._look()
        if teacher.promotion not in self._lags:
            self._lags[teacher.promotion] = self._promotions.lag(teacher.promotion)
        return self._lags[teacher.promotion]

    def verdict(self, teacher: TeacherVersion) -> str | None:
        """Return why a label of this teacher must not be trained (`revoked`, `stale`), or none."""
        self._look()
        if teacher.promotion in self._revoked:
            return "revoked"
        return "stale" if self._max_lag is not None and self.lag(teacher) > self._max_lag else None

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_EVERY_S:
            self._looked_at = now
            self._revoked = self._promotions.revoked()
            self._lags.clear()
