"""The label queue's own figures, measured in a thread so that an absent Redis holds nobody up."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Final, Self

from xpm_stream.errors import QueueError
from xpm_stream.label_queue import LabelQueue
from xpm_stream.monitoring.metrics import Metrics

_EVERY_S: Final = 2.0


class QueueObserver:
    """Keeps the queue's gauges up to date while open."""

    def __init__(self, queue: LabelQueue, *, metrics: Metrics) -> None:
        self._queue = queue
        self._metrics = metrics
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._observe, name="queue observer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join(timeout=_EVERY_S)

    def _observe(self) -> None:
        while True:
            try:
                self._look()
            except QueueError as error:  # counted, and looked again: gauges keep their last value meanwhile
                self._metrics.count_error(error)
            if self._stopped.wait(_EVERY_S):
                return

    def _look(self) -> None:
        stats, gauges = self._queue.stats(), self._metrics.queue
        gauges.max_unacked_labels.set(self._queue.config.max_unacked_labels)
        gauges.max_unacked_bytes.set(self._queue.config.max_unacked_mb * 1024 * 1024)
        gauges.stream_entries.set(stats.unacked_labels)
        gauges.unacked_labels.set(stats.unacked_labels)
        gauges.unacked_bytes.set(stats.unacked_bytes)
        gauges.oldest_unacked_age_seconds.set(stats.oldest_label_age_s or 0.0)
        gauges.relabel_backlog.set(stats.relabels)
        gauges.dead_letters.set(stats.dead_letters)
        gauges.lease_expiries.set(stats.lease_expiries)
        for state in ("pending", "leased", "finished", "failed"):
            gauges.shards.labels(state).set(getattr(stats, f"shards_{state}"))
