"""Suspects: labels that several trainers held when they died. Each is tried alone, and booked before it is touched."""

from __future__ import annotations

from typing import Literal

from xpm_stream.label_queue.deliveries import Delivery
from xpm_stream.label_queue.trainer_side import TrainerSide


class Trials(TrainerSide):
    """One suspect at a time over all ranks, which die together; so only the label that is tried can be to blame.

    All that a trainer holds when it dies is delivered once more, so `deliveries` accuses the innocent with the guilty:
    only a trial that nobody survived counts.
    """

    def try_alone(self, consumer: str, delivery: Delivery) -> Literal["alone", "busy", "gone", "dead"]:
        """Books a trial of a suspect; the caller has nothing else in flight, and ends it with `end_trial`.

        Returns:
            `alone`: go on with it. `busy`: another rank tries one now; ask again later. `gone`: it is on the stream no
            more. `dead`: `max_attempts` trials killed their trainers; it is a dead letter now (`kills_trainer`).

        Raises:
            EpochFenced: a newer trainer has started.
        """
        if delivery.tried >= self.config.max_attempts:
            detail = (
                f"{delivery.tried} trainers died while they held this label alone ({delivery.deliveries} deliveries)"
            )
            self._bury(delivery, reason="kills_trainer", detail=detail, allowed=1, attempts=delivery.tried)
            return "dead"
        went, _ = self._trial("try_alone", consumer, delivery, doing="booking a trial")
        if went == b"gone":
            self._forget([delivery.entry_id])
            return "gone"
        return "busy" if went == b"busy" else "alone"

    def end_trial(self, consumer: str, delivery: Delivery, *, trained: bool) -> None:
        """Ends a trial that the trainer survived: trained, the label is beyond suspicion. Repeating it is harmless.

        Raises:
            EpochFenced: a newer trainer has started.
        """
        self._trial(
            "end_trial", consumer, delivery, doing="ending a trial", passed=delivery.deliveries if trained else 0
        )

    def _trial(self, script: str, consumer: str, delivery: Delivery, *, doing: str, **more: int) -> tuple[bytes, int]:
        keys = self.keys
        reply: tuple[bytes, int] = self.edge.run(
            script,
            keys=[keys.labels, keys.meta, keys.failures],
            arguments={**self._fence(), "consumer": consumer, "id": delivery.entry_id, **more},
            doing=doing,
        )
        return reply
