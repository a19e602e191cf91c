"""What the living processes of a run say of themselves, read from their metrics ports as Prometheus would."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from xpm_stream.monitoring.serving import Endpoint, read_endpoints

_TIMEOUT_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Scrape:
    """All samples of a run's processes at one moment; a process that does not answer is absent."""

    samples: Sequence[tuple[Endpoint, Sample]]

    @property
    def roles(self) -> list[str]:
        """Roles that answered."""
        return [endpoint.role for endpoint in {id(e): e for e, _ in self.samples}.values()]

    def total(self, name: str, **labels: str) -> float | None:
        """Return the sum of a metric's samples over all processes, or none where nobody has it."""
        values = [sample.value for sample in self._of(name, labels)]
        return sum(values) if values else None

    def largest(self, name: str, **labels: str) -> float | None:
        """Return the largest of a metric's samples, or none."""
        return max((sample.value for sample in self._of(name, labels)), default=None)

    def by_label(self, name: str, label: str) -> dict[str, float]:
        """Return a metric's values by one label, summed over processes."""
        found: dict[str, float] = {}
        for sample in self._of(name, {}):
            key = sample.labels.get(label, "")
            found[key] = found.get(key, 0.0) + sample.value
        return found

    def mean(self, histogram: str) -> float | None:
        """Return the mean of all a histogram has seen, or none before it saw anything."""
        count, total = self.total(f"{histogram}_count"), self.total(f"{histogram}_sum")
        return total / count if count and total is not None else None

    def _of(self, name: str, labels: dict[str, str]) -> Iterator[Sample]:
        for _, sample in self.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                yield sample


def scrape_run(run_folder: Path) -> Scrape:
    """Ask every living process of a run for its metrics."""
    samples: list[tuple[Endpoint, Sample]] = []
    for endpoint in read_endpoints(run_folder):
        try:
            with urllib.request.urlopen(f"{endpoint.url}/metrics", timeout=_TIMEOUT_S) as answer:
                text = answer.read().decode()
        except (urllib.error.URLError, OSError):
            continue  # it is starting or ending; the next look will tell
        for family in text_string_to_metric_families(text):
            samples += [(endpoint, sample) for sample in family.samples]
    return Scrape(samples)
