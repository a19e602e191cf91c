"""Labels that several trainers held when they died, set aside by the feed and tried one at a time."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Final

from xpm_stream.label_queue import Delivery, LabelQueue
from xpm_stream.stages.process import Role

_CHECKPOINT_EVERY: Final = 64  # suspects that passed: what they cost is not to be paid again


class Suspects:
    """Those tried least come first: one that killed its trainer again waits until all others are through."""

    def __init__(self, role: Role, *, queue: LabelQueue) -> None:
        self._role = role
        self._queue = queue
        self._waiting: list[tuple[int, int, Delivery]] = []  # a heap: tried, order of coming, delivery
        self._came = 0
        self._passed = 0  # since a checkpoint was last asked for

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def set_aside(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Keep the suspects among the deliveries; return the others."""
        for delivery in deliveries:
            if delivery.suspect:
                self._came += 1
                heapq.heappush(self._waiting, (delivery.tried, self._came, delivery))
        return [delivery for delivery in deliveries if not delivery.suspect]

    def take(self) -> Delivery | None:
        """Return the next suspect, its trial booked; none if another rank tries one now, or if none is left."""
        while self._waiting:
            delivery = self._waiting[0][2]
            outcome = self._queue.try_alone(self._role.name, delivery)
            if outcome == "busy":
                return None
            heapq.heappop(self._waiting)
            if outcome == "alone":
                self._role.log.info(
                    "suspect", entry=delivery.entry_id, sample=str(delivery.sample), tried=delivery.tried
                )
                return delivery
            if outcome == "dead":
                self._role.metrics.trainer.dead_letters.labels("kills_trainer").inc()
                self._role.log.warning("dead letter", entry=delivery.entry_id, reason="kills_trainer")
        return None

    def survived(self, delivery: Delivery, *, trained: bool) -> None:
        """End the trial of what `take` returned."""
        self._queue.end_trial(self._role.name, delivery, trained=trained)
        self._passed += trained

    def want_checkpoint(self) -> bool:
        """Whether to make durable what passed: before the likely killer's turn, after the last, and in between."""
        next_is_worse = not self._waiting or self._waiting[0][0] > 0
        due = self._passed > 0 and (next_is_worse or self._passed >= _CHECKPOINT_EVERY)
        if due:
            self._passed = 0
        return due
