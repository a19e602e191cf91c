"""PromoterMetrics: the metrics table of one group; see `metric_tables`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from prometheus_client import Counter, Gauge, Histogram

from xpm_stream.monitoring.metric_spec import LONG_SECONDS_BUCKETS, counter, gauge, histogram


@dataclass(frozen=True, slots=True, kw_only=True)
class PromoterMetrics:
    """What was promoted, and how long it took."""

    TITLE: ClassVar[str] = "Promoter"

    decisions: Annotated[
        Counter,
        counter(
            "xpm_promoter_decisions_total",
            "Entries this promoter wrote to the promotion log, by action.",
            labels=("action",),
            values=("promote", "refuse", "inconclusive", "rollback", "revoke"),
        ),
    ]
    conflicts: Annotated[Counter, counter("xpm_promoter_conflicts_total", "Entries another promoter wrote first.")]
    promotion_seconds: Annotated[
        Histogram,
        histogram(
            "xpm_promoter_promotion_seconds",
            "Seconds from finding a candidate to the entry in the log.",
            buckets=LONG_SECONDS_BUCKETS,
        ),
    ]
    champion_version: Annotated[
        Gauge, gauge("xpm_promoter_champion_version", "Promotion number of the champion; 0: none.")
    ]
    last_promotion: Annotated[
        Gauge, gauge("xpm_promoter_last_promotion_timestamp_seconds", "Unix time of the champion's entry in the log.")
    ]
    candidates_pending: Annotated[Gauge, gauge("xpm_promoter_candidates_pending", "Candidates not decided yet.")]
    gate_results: Annotated[
        Counter,
        counter(
            "xpm_promoter_gate_results_total",
            "Gates a candidate went through, by gate and outcome (pass, fail, unknown: it could not be measured).",
            labels=("gate", "outcome"),
        ),
    ]
    gate_value: Annotated[
        Gauge, gauge("xpm_promoter_gate_value", "What a gate measured on the last candidate.", labels=("gate",))
    ]
    gate_limit: Annotated[
        Gauge, gauge("xpm_promoter_gate_limit", "The limit of that gate for the last candidate.", labels=("gate",))
    ]
    gate_seconds: Annotated[
        Histogram,
        histogram(
            "xpm_promoter_gate_seconds",
            "Seconds of measuring one candidate on held-out and canary images.",
            buckets=LONG_SECONDS_BUCKETS,
        ),
    ]
    consecutive_failures: Annotated[
        Gauge,
        gauge(
            "xpm_promoter_consecutive_failures",
            "Candidates refused since the last promotion or rollback.",
        ),
    ]
    held: Annotated[
        Gauge,
        gauge(
            "xpm_promoter_held",
            "1 once promotion.gates.max_failures candidates were refused: nothing is promoted until a person decides.",
        ),
    ]
