"""Stale labels, and those of a revoked teacher, go back to be labelled again, at the moment they would be trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xpm_stream import crash_points
from xpm_stream.label_queue import Delivery, LabelQueue
from xpm_stream.stages.label_feed import Admitted
from xpm_stream.stages.process import Role
from xpm_stream.stages.sample_claims import SampleClaims
from xpm_stream.stages.staleness import Staleness


class StaleLabels:
    """Keeps fresh labels and sends the others back; counted here, so that time on the queue counts too."""

    def __init__(self, role: Role, *, queue: LabelQueue, claims: SampleClaims, staleness: Staleness) -> None:
        self._metrics = role.metrics.trainer
        self._queue = queue
        self._claims = claims
        self._staleness = staleness
        self._sent_back = 0

    def keep_fresh(self, admitted: Sequence[Admitted], *, hold: Callable[[Delivery], None]) -> list[Admitted]:
        """Return the labels that may be trained now; `hold` takes those whose sample the feed has claimed once more."""
        verdicts = [(item, self._staleness.verdict(item.message.teacher)) for item in admitted]
        fresh = [item for item, reason in verdicts if reason is None]
        for reason in ("stale", "revoked"):
            found = [item for item, verdict in verdicts if verdict == reason]
            if found:
                fresh += self._give_back(found, reason=reason, hold=hold)
        return fresh

    def take_count(self) -> int:
        """Return how many labels were sent back since the last call."""
        count, self._sent_back = self._sent_back, 0
        return count

    def _give_back(self, items: list[Admitted], *, reason: str, hold: Callable[[Delivery], None]) -> list[Admitted]:
        """Give labels back; return those that were relabelled as often as allowed and are trained all the same."""
        # Before, not after: the loader thread may meet a new label, and must not take it for a second one of ours.
        self._claims.release(item.message.sample for item in items)
        crash_points.reach("trainer.before_give_back")
        outcome = self._queue.give_back([item.delivery for item in items], reason=reason)
        crash_points.reach("trainer.after_give_back")
        exhausted = {delivery.entry_id for delivery in outcome.exhausted}
        moved = [item for item in items if item.delivery.entry_id not in exhausted]
        kept = [item for item in items if item.delivery.entry_id in exhausted]
        self._metrics.samples_relabelled.labels(reason).inc(len(moved))
        self._sent_back += len(moved)
        if reason == "stale":
            claimed = [self._claims.claim(item.message.sample) for item in kept]
            for item, mine in zip(kept, claimed, strict=True):
                if not mine:
                    hold(item.delivery)
            return [item for item, mine in zip(kept, claimed, strict=True) if mine]
        for item in kept:  # a revoked teacher's label is never trained
            self._queue.dead_letter(item.delivery, reason="relabels_exhausted", detail="the teacher is revoked")
            self._metrics.dead_letters.labels("relabels_exhausted").inc()
        return []
