"""DriftMetrics: the metrics table of one group; see `metric_tables`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from prometheus_client import Counter, Gauge

from xpm_stream.monitoring.metric_spec import counter, gauge


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftMetrics:
    """Whether the stream is still what it was: windows of labels against their references."""

    TITLE: ClassVar[str] = "Drift monitor"

    labels_seen: Annotated[Counter, counter("xpm_drift_labels_seen_total", "Labels the monitor read from the queue.")]
    labels_missed: Annotated[
        Counter,
        counter(
            "xpm_drift_labels_missed_total",
            "Labels that were acknowledged and deleted before the monitor could read them; the statistics lack them.",
        ),
    ]
    windows: Annotated[
        Counter,
        counter(
            "xpm_drift_windows_total",
            "Windows judged, by reference (frozen, previous_teacher, current_teacher) and status (no_drift, drift, "
            "too_few).",
            labels=("reference", "status"),
        ),
    ]
    statistic: Annotated[
        Gauge,
        gauge(
            "xpm_drift_statistic",
            "A statistic of the last window against a reference; absent where the window had too few values.",
            labels=("reference", "quantity", "statistic"),
        ),
    ]
    threshold: Annotated[
        Gauge,
        gauge(
            "xpm_drift_statistic_threshold",
            "The value above which that statistic alarms.",
            labels=("reference", "quantity", "statistic"),
        ),
    ]
    alarm: Annotated[
        Gauge, gauge("xpm_drift_alarm", "1 while the last judged window is above a threshold.", labels=("reference",))
    ]
    alarms: Annotated[
        Counter,
        counter(
            "xpm_drift_alarms_total",
            "Windows above a threshold, by reference and by what changed (teacher, data, both, unknown).",
            labels=("reference", "cause"),
        ),
    ]
    less_trusted: Annotated[
        Counter,
        counter(
            "xpm_drift_less_trusted_windows_total",
            "Of the windows above a threshold, those whose mean reliability is below 0.8 of the reference's.",
            labels=("reference", "cause"),
        ),
    ]
    missing_quantities: Annotated[
        Gauge,
        gauge(
            "xpm_drift_missing_quantities",
            "Quantities of the last window that should have been judged but had too few values.",
            labels=("reference",),
        ),
    ]
    reference_labels: Annotated[
        Gauge,
        gauge(
            "xpm_drift_reference_labels",
            "Labels a reference holds; it is complete at drift.reference_labels.",
            labels=("reference",),
        ),
    ]
    reference_ready: Annotated[
        Gauge,
        gauge("xpm_drift_reference_ready", "1 once windows are judged against a reference.", labels=("reference",)),
    ]
    level: Annotated[
        Gauge,
        gauge("xpm_drift_level", "Mean or share of a quantity in the last window.", labels=("quantity",)),
    ]
    reliability_quantile: Annotated[
        Gauge,
        gauge(
            "xpm_drift_reliability_quantile_ratio",
            "Quantiles of the reliability of the last window's instances, 0..1.",
            labels=("quantile",),
        ),
    ]
    last_window: Annotated[
        Gauge, gauge("xpm_drift_last_window_timestamp_seconds", "Unix time at which the last window closed.")
    ]
    brake: Annotated[
        Gauge, gauge("xpm_drift_brake", "1 while drift holds promotions back; ingestion goes on all the same.")
    ]
