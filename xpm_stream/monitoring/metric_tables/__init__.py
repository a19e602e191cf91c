"""All metrics of a run: a small dataclass for each group in a file of its own, one field for each metric.

Names follow Prometheus' conventions: prefix `xpm_`, base units in the name, `_total` on counters, bounded labels (never
a shard, a sample or a version). `docs/metrics.md` is written from these files.
"""

from __future__ import annotations

from typing import Final

from xpm_stream.monitoring.metric_tables.drift import DriftMetrics
from xpm_stream.monitoring.metric_tables.labeler import LabelerMetrics
from xpm_stream.monitoring.metric_tables.process import ProcessMetrics
from xpm_stream.monitoring.metric_tables.promoter import PromoterMetrics
from xpm_stream.monitoring.metric_tables.queue import QueueMetrics
from xpm_stream.monitoring.metric_tables.trainer import TrainerMetrics

Group = LabelerMetrics | TrainerMetrics | PromoterMetrics | DriftMetrics | QueueMetrics | ProcessMetrics
GROUPS: Final[tuple[type[Group], ...]] = (
    LabelerMetrics,
    TrainerMetrics,
    PromoterMetrics,
    DriftMetrics,
    QueueMetrics,
    ProcessMetrics,
)

__all__ = [
    "GROUPS",
    "DriftMetrics",
    "Group",
    "LabelerMetrics",
    "ProcessMetrics",
    "PromoterMetrics",
    "QueueMetrics",
    "TrainerMetrics",
]
