"""QueueMetrics: the metrics table of one group; see `metric_tables`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from prometheus_client import Gauge

from xpm_stream.monitoring.metric_spec import gauge


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueMetrics:
    """The label queue as a whole; exported only by a process that measures it."""

    TITLE: ClassVar[str] = "Queue"

    stream_entries: Annotated[Gauge, gauge("xpm_queue_stream_entries", "Labels on the stream, read or not.")]
    unacked_labels: Annotated[Gauge, gauge("xpm_queue_unacked_labels", "Labels not yet in a durable checkpoint.")]
    unacked_bytes: Annotated[Gauge, gauge("xpm_queue_unacked_bytes", "Encoded size of the unacknowledged labels.")]
    oldest_unacked_age_seconds: Annotated[
        Gauge,
        gauge("xpm_queue_oldest_unacked_age_seconds", "Age of the oldest unacknowledged label; 0 when there is none."),
    ]
    shards: Annotated[Gauge, gauge("xpm_queue_shards", "Shards by state.", labels=("state",))]
    lease_expiries: Annotated[
        Gauge,
        gauge("xpm_queue_lease_expiries", "Leases that ran out and freed their shard, since the queue was created."),
    ]
    relabel_backlog: Annotated[Gauge, gauge("xpm_queue_relabel_backlog", "Samples waiting to be labelled again.")]
    dead_letters: Annotated[Gauge, gauge("xpm_queue_dead_letters", "Messages in the dead-letter stream.")]
    max_unacked_labels: Annotated[
        Gauge, gauge("xpm_queue_max_unacked_labels", "Budget of unacknowledged labels; labelers wait above it.")
    ]
    max_unacked_bytes: Annotated[
        Gauge, gauge("xpm_queue_max_unacked_bytes", "Budget of unacknowledged labels' encoded size.")
    ]
