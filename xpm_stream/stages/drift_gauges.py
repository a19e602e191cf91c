"""What the drift monitor shows to Prometheus of its last window."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from prometheus_client import Gauge

from xpm_stream.monitoring.drift_brake import Judged
from xpm_stream.monitoring.drift_records import WindowRecord
from xpm_stream.monitoring.drift_verdicts import DriftVerdict
from xpm_stream.monitoring.metric_tables import DriftMetrics


class DriftGauges:
    """Keeps the monitor's metrics as its newest record is."""

    def __init__(self, metrics: DriftMetrics) -> None:
        self._metrics = metrics
        self.brake = metrics.brake

    def count_labels(self, *, seen: int, missed: int) -> None:
        """Count labels read, and labels that were gone before."""
        self._metrics.labels_seen.inc(seen)
        self._metrics.labels_missed.inc(missed)

    def show(self, record: WindowRecord, judged: Sequence[Judged]) -> None:
        """Show a closed window."""
        metrics = self._metrics
        for one in judged:
            self._show_verdict(one.verdict)
            if one.attribution is not None:
                metrics.alarms.labels(one.verdict.reference, one.attribution.cause).inc()
                if one.verdict.less_trusted:
                    metrics.less_trusted.labels(one.verdict.reference, one.attribution.cause).inc()
        for level in judged[0].verdict.levels if judged else ():
            if level.level is not None:
                metrics.level.labels(level.quantity).set(level.level)
        for quantile, value in (record.quantiles["reliability"] or {}).items():
            metrics.reliability_quantile.labels(quantile).set(value)
        metrics.last_window.set(record.ended_at_s)
        metrics.brake.set(record.brake)

    def _show_verdict(self, verdict: DriftVerdict) -> None:
        metrics, reference = self._metrics, verdict.reference
        metrics.windows.labels(reference, verdict.status).inc()
        for one in verdict.statistics:
            place = (reference, one.quantity, one.statistic)
            _set_or_remove(metrics.statistic, place, one.value)
            _set_or_remove(metrics.threshold, place, one.threshold)
        if verdict.status != "too_few":
            metrics.alarm.labels(reference).set(verdict.status == "drift" or bool(verdict.missing))
            metrics.missing_quantities.labels(reference).set(len(verdict.missing))


def _set_or_remove(gauge: Gauge, place: tuple[str, ...], value: float | None) -> None:
    if value is not None:
        gauge.labels(*place).set(value)
        return
    with contextlib.suppress(KeyError):
        gauge.remove(*place)
