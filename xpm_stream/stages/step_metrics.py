"""What one training step shows in metrics and log."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from xpm_stream.stages.label_feed import TrainingItem
from xpm_stream.stages.process import Role
from xpm_stream.stages.staleness import Staleness
from xpm_stream.stages.student import Student

_LOG_EVERY_STEPS: Final = 20
_SLOTS: Final = ("current", "previous", "older")  # teachers, by how many promotions ago they labelled


class StepMetrics:
    """Observes the steps of one rank: its own labels, and what all ranks have in common."""

    def __init__(self, role: Role, *, student: Student, staleness: Staleness) -> None:
        self._log = role.log
        self._metrics = role.metrics.trainer
        self._student = student
        self._staleness = staleness

    def observe(self, item: TrainingItem | None, losses: Mapping[str, float], norm: float, seconds: float) -> None:
        """Count one step; `item` is none where this rank only followed the others."""
        metrics, state = self._metrics, self._student.state
        metrics.steps.inc()
        metrics.step.set(state.step)
        metrics.step_seconds.observe(seconds)
        metrics.gradient_norm.set(norm)
        metrics.learning_rate.set(self._student.learning_rate)
        if item is not None:
            self._observe_labels(item)
            metrics.observe_losses(losses)
        observed = self._student.method.observations()
        for value in observed.get("reliability", ()):
            metrics.reliability.observe(value)
        for value in observed.get("noise", ()):
            metrics.noise.observe(value)
        if state.step % _LOG_EVERY_STEPS == 0 or state.step == 1:
            shown = {name: round(value, 4) for name, value in losses.items()}
            self._log.info("step", step=state.step, samples=state.samples_trained, **shown)

    def _observe_labels(self, item: TrainingItem) -> None:
        metrics, now = self._metrics, time.time()
        metrics.samples_trained.inc(len(item.admitted))
        metrics.base_images_trained.inc(len(item.base))
        metrics.images_replayed.inc(len(item.replayed.images))
        for admitted in item.admitted:
            lag = self._staleness.lag(admitted.message.teacher)
            metrics.staleness.observe(lag)
            metrics.labels_trained.labels(_SLOTS[min(lag, 2)]).inc()
            metrics.label_age_seconds.observe(max(0.0, now - admitted.message.labelled_at_s))
