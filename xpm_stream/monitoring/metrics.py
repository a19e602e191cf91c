"""The metrics of one process, typed, and the page that documents them all. The tables are in `metric_tables/`."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Final, Literal, TypeVar, get_type_hints

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector

from xpm_stream.monitoring.metric_spec import MetricSpec
from xpm_stream.monitoring.metric_tables import (
    GROUPS,
    DriftMetrics,
    Group,
    LabelerMetrics,
    ProcessMetrics,
    PromoterMetrics,
    QueueMetrics,
    TrainerMetrics,
)
from xpm_stream.version import __version__

Role = Literal["labeler", "trainer", "promoter", "monitor"]

_PAGE_HEAD: Final = """\
# Metrics

Written from `xpm_stream/monitoring/metric_tables/`; do not edit. To write it again:

```sh
python -c 'from xpm_stream.monitoring import metrics; print(metrics.render_metrics_page(), end="")' > docs/metrics.md
```

Each process answers on its own port: `/metrics`, `/healthz` (restart it if not 200), `/readyz` (200 when it can work;
the body gives the reasons). The bound addresses are in `endpoints/` of the run folder. A process exports its role's
table from its start, and the queue's if it measures the queue. Histograms add `_bucket`, `_sum` and `_count`."""

_OF_ROLE: Final[dict[Role, tuple[type[Group], ...]]] = {
    "labeler": (LabelerMetrics,),
    "trainer": (TrainerMetrics,),
    "promoter": (PromoterMetrics,),
    "monitor": (DriftMetrics,),
}
_GroupT = TypeVar(
    "_GroupT", LabelerMetrics, TrainerMetrics, PromoterMetrics, DriftMetrics, QueueMetrics, ProcessMetrics
)


class Metrics:
    """The metrics of one process: its role's group from the start, others from the moment they are first used.

    A group that nobody uses is not exported, so a labeler shows no trainer at zero.
    """

    def __init__(self, role: Role) -> None:
        self.role: Final = role
        self.registry: Final = CollectorRegistry(auto_describe=False)
        self._groups: dict[type[Group], Any] = {}
        for group in (ProcessMetrics, *_OF_ROLE[role]):
            self._groups[group] = _build(group, self.registry)
        ProcessCollector(registry=self.registry)
        self.process.build_info.labels(__version__, role).set(1)
        self.process.started.set_to_current_time()

    @property
    def labeler(self) -> LabelerMetrics:
        """What a labeler reads, labels and waits for."""
        return self._group(LabelerMetrics)

    @property
    def trainer(self) -> TrainerMetrics:
        """What the streaming student learns from, and how it goes."""
        return self._group(TrainerMetrics)

    @property
    def promoter(self) -> PromoterMetrics:
        """What was promoted, and how long it took."""
        return self._group(PromoterMetrics)

    @property
    def drift(self) -> DriftMetrics:
        """Whether the stream is still what it was."""
        return self._group(DriftMetrics)

    @property
    def queue(self) -> QueueMetrics:
        """The label queue as a whole."""
        return self._group(QueueMetrics)

    @property
    def process(self) -> ProcessMetrics:
        """What every process shows."""
        return self._group(ProcessMetrics)

    def count_error(self, error: BaseException) -> None:
        """Count an error under the name of its class."""
        self.process.errors.labels(type(error).__name__).inc()

    def _group(self, kind: type[_GroupT]) -> _GroupT:
        if kind not in self._groups:
            self._groups[kind] = _build(kind, self.registry)
        group: _GroupT = self._groups[kind]
        return group


def specs_of(group: type[Group]) -> dict[str, MetricSpec]:
    """Return the table's lines of one group by attribute name, in order."""
    hints = get_type_hints(group, include_extras=True)
    return {item.name: hints[item.name].__metadata__[0] for item in fields(group)}


def _build(group: type[Group], registry: CollectorRegistry) -> Any:
    metrics: dict[str, Any] = {name: spec.build(registry) for name, spec in specs_of(group).items()}
    return group(**metrics)


def render_metrics_page() -> str:
    """Return `docs/metrics.md`: every metric with type, labels, buckets and help."""
    lines = [_PAGE_HEAD]
    for group in GROUPS:
        lines += ["", f"## {group.TITLE}", "", "| metric | type | labels | meaning |", "|---|---|---|---|"]
        lines += [_row(spec) for spec in specs_of(group).values()]
    lines += [
        "",
        "Beside them, `process_*` of prometheus_client: resident memory, CPU seconds, open files, start time.",
        "",
    ]
    return "\n".join(lines)


def _row(spec: MetricSpec) -> str:
    values = f": {', '.join(spec.values)}" if spec.values else ""
    labels = ", ".join(f"`{label}`" for label in spec.labels) + values
    buckets = (
        f" Buckets: {', '.join(f'{edge:g}' for edge in spec.buckets)}." if issubclass(spec.kind, Histogram) else ""
    )
    return f"| `{spec.name}` | {spec.kind.__name__.lower()} | {labels} | {spec.help}{buckets} |"
