"""What one line of the metrics table says, and the buckets it may use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# Classic buckets of equal width: drift statistics compare them, so they must not move.
FRACTION_BUCKETS: Final = tuple(round(0.05 * edge, 2) for edge in range(1, 21))
SECONDS_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
LONG_SECONDS_BUCKETS: Final = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
COUNT_BUCKETS: Final = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0)
LAG_BUCKETS: Final = (0.0, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0)
NOISE_BUCKETS: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSpec:
    """One line of the table."""

    name: str
    kind: type[Counter] | type[Gauge] | type[Histogram]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    values: tuple[str, ...] = ()  # of the one label, where the set is closed: exported as 0 from the start

    def build(self, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
        """Create the metric in `registry`."""
        if issubclass(self.kind, Histogram):
            return Histogram(self.name, self.help, self.labels, registry=registry, buckets=self.buckets)
        metric = self.kind(self.name, self.help, self.labels, registry=registry)
        for value in self.values:
            metric.labels(value)
        return metric


def counter(name: str, help: str, *, labels: tuple[str, ...] = (), values: tuple[str, ...] = ()) -> MetricSpec:
    """Describe a counter; `name` ends with `_total`."""
    return MetricSpec(name=name, kind=Counter, help=help, labels=labels, values=values)


def gauge(name: str, help: str, *, labels: tuple[str, ...] = (), values: tuple[str, ...] = ()) -> MetricSpec:
    """Describe a gauge."""
    return MetricSpec(name=name, kind=Gauge, help=help, labels=labels, values=values)


def histogram(name: str, help: str, *, buckets: tuple[float, ...], labels: tuple[str, ...] = ()) -> MetricSpec:
    """Describe a histogram with classic buckets, given by their upper edges without +Inf."""
    return MetricSpec(name=name, kind=Histogram, help=help, labels=labels, buckets=buckets)
