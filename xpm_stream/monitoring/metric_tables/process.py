"""ProcessMetrics: the metrics table of one group; see `metric_tables`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from prometheus_client import Counter, Gauge

from xpm_stream.monitoring.metric_spec import counter, gauge


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessMetrics:
    """What every process shows."""

    TITLE: ClassVar[str] = "Every process"

    errors: Annotated[
        Counter,
        counter("xpm_errors_total", "Errors met, by the name of their class in the error tree.", labels=("kind",)),
    ]
    build_info: Annotated[
        Gauge, gauge("xpm_build_info", "Always 1; the version that runs.", labels=("version", "role"))
    ]
    started: Annotated[
        Gauge, gauge("xpm_started_timestamp_seconds", "Unix time at which the process was ready to work.")
    ]
    ready: Annotated[
        Gauge, gauge("xpm_ready", "1 while the process can work, 0 while `/readyz` gives a reason why not.")
    ]
