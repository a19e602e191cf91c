"""The demonstration's Prometheus, for tests: it waits for alerts, and skips where there is no Prometheus."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from redis_servers import until

from benchmarks.operate.prometheus import DEPLOY, Prometheus, PrometheusMissing, start_prometheus

PATIENCE_S: Final = 120.0


class WatchedPrometheus(Prometheus):
    """A server that a test waits for."""

    def has_data(self, expression: str) -> bool:
        """Whether an expression gives anything now. What Grafana fills in is filled in; an error fails."""
        for variable, chosen in (("$__rate_interval", "10s"), ("$run", ".*")):
            expression = expression.replace(variable, chosen)
        return bool(self.ask("query", query=expression)["result"])

    def until_firing(self, name: str) -> dict[str, Any]:
        """Wait for an alert; return it."""
        until(lambda: name in self.alerts(), what=f"{name} firing: {self.said()}", within_s=PATIENCE_S)
        return self.alerts()[name]

    def until_over(self, name: str) -> None:
        """Wait until an alert neither fires nor is pending."""
        over = lambda: name not in {**self.alerts(), **self.alerts("pending")}  # noqa: E731
        until(over, what=f"{name} being over", within_s=PATIENCE_S)


def panel_expressions() -> dict[str, str]:
    """Every expression of every dashboard's panels -> where it stands."""
    found = {}
    for path in sorted((DEPLOY / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            for target in panel.get("targets", ()):
                found[target["expr"]] = f"{path.stem}: {panel['title']}"
    return found


@contextmanager
def prometheus_of(run_folder: Path, folder: Path) -> Iterator[WatchedPrometheus]:
    """Start Prometheus and deploy/targets.py for a run; skip the test where there is no Prometheus."""
    try:
        with start_prometheus(run_folder, folder) as server:
            yield WatchedPrometheus(server.url, folder / "prometheus.log")
    except PrometheusMissing as missing:
        pytest.skip(str(missing))
