"""Which samples this trainer holds: in flight since they were read, or trained. Two threads share it."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Literal

from xpm_stream.label_queue import TrainedLedger
from xpm_stream.records import SampleId


class SampleClaims:
    """Lets each sample be trained once, however often its label arrives."""

    def __init__(self, trained: TrainedLedger) -> None:
        self._lock = threading.Lock()
        self._trained = trained
        self._in_flight: set[SampleId] = set()

    def claim(self, sample: SampleId) -> bool:
        """Claim a sample for training; false if it is trained or claimed already."""
        with self._lock:
            if sample in self._in_flight or sample in self._trained:
                return False
            self._in_flight.add(sample)
            return True

    def release(self, samples: Iterable[SampleId]) -> None:
        """Let claimed samples go untrained: they went back to be relabelled, or to the dead letters."""
        with self._lock:
            self._in_flight.difference_update(samples)

    def book_trained(self, samples: Iterable[SampleId]) -> None:
        """Book claimed samples as trained, after the optimiser step that used them."""
        with self._lock:
            for sample in samples:
                self._in_flight.remove(sample)
                self._trained.add(sample)

    def book_trained_elsewhere(self, samples: Iterable[SampleId]) -> None:
        """Book what other ranks trained in the same step; a copy claimed here is found out when its turn comes."""
        with self._lock:
            for sample in samples:
                self._trained.add(sample)

    def trained_among(self, samples: Iterable[SampleId]) -> list[SampleId]:
        """Return those that are trained."""
        with self._lock:
            return [sample for sample in samples if sample in self._trained]

    def fate(self, sample: SampleId) -> Literal["trained", "in flight", "free"]:
        """Return what became of a sample that was claimed."""
        with self._lock:
            if sample in self._trained:
                return "trained"
            return "in flight" if sample in self._in_flight else "free"

    def in_flight(self) -> int:
        """Return how many samples are claimed, and neither trained nor let go."""
        with self._lock:
            return len(self._in_flight)

    def trained(self) -> TrainedLedger:
        """Return a copy of the trained ledger as it is now."""
        with self._lock:
            return self._trained.copy()
