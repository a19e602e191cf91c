"""A real Prometheus that scrapes a run as deploy/prometheus_discovery.yaml says, but every second, with hasty rules."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from redis_servers import free_ports, until

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
HASTE: Final = 30  # ten minutes of a rule become twenty seconds
PATIENCE_S: Final = 120.0


class Prometheus:
    """A server that answers queries and knows which alerts fire."""

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self._log = log

    def value(self, expression: str) -> float | None:
        """The value of an expression with one series; none: it has no series now."""
        result = self._ask("query", query=expression)["result"]
        assert len(result) <= 1, result
        return float(result[0]["value"][1]) if result else None

    def has_data(self, expression: str) -> bool:
        """Whether an expression gives anything now. What Grafana fills in is filled in; an error fails."""
        for variable, chosen in (("$__rate_interval", "10s"), ("$run", ".*")):
            expression = expression.replace(variable, chosen)
        return bool(self._ask("query", query=expression)["result"])

    def alerts(self, state: str = "firing") -> dict[str, dict[str, Any]]:
        """What fires now (or is pending), by name."""
        found = self._ask("alerts")["alerts"]
        return {alert["labels"]["alertname"]: alert for alert in found if alert["state"] == state}

    def targets(self) -> dict[str, str]:
        """Role -> health of each target."""
        active = self._ask("targets")["activeTargets"]
        return {target["labels"]["role"]: target["health"] for target in active}

    def rule_problems(self) -> list[str]:
        """What the last evaluation of any rule complained of."""
        groups = self._ask("rules")["groups"]
        return [
            f"{rule['name']}: {rule['lastError']}" for group in groups for rule in group["rules"] if "lastError" in rule
        ]

    def until_firing(self, name: str) -> dict[str, Any]:
        """Wait for an alert; return it."""
        until(lambda: name in self.alerts(), what=f"{name} firing: {self.said()}", within_s=PATIENCE_S)
        return self.alerts()[name]

    def until_over(self, name: str) -> None:
        """Wait until an alert neither fires nor is pending."""
        over = lambda: name not in {**self.alerts(), **self.alerts("pending")}  # noqa: E731
        until(over, what=f"{name} being over", within_s=PATIENCE_S)

    def answers(self) -> bool:
        """Whether it is ready to be asked."""
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def said(self) -> str:
        return self._log.read_text(errors="replace")[-1500:]

    def _ask(self, what: str, **arguments: str) -> Any:
        url = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(arguments)}"
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{url}: {error.read().decode()}") from error


def panel_expressions() -> dict[str, str]:
    """Every expression of every dashboard's panels -> where it stands."""
    found = {}
    for path in sorted((DEPLOY / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            for target in panel.get("targets", ()):
                found[target["expr"]] = f"{path.stem}: {panel['title']}"
    return found


def write_configuration(folder: Path) -> Path:
    """deploy/prometheus_discovery.yaml with the rules hastened, and looked at every second instead of five."""
    hasten = [sys.executable, str(DEPLOY / "prometheus" / "hasten.py"), "--by", str(HASTE), str(folder / "rules")]
    subprocess.run(hasten, check=True, timeout=60)
    tree = yaml.safe_load((DEPLOY / "prometheus_discovery.yaml").read_text(encoding="utf-8"))
    assert tree["rule_files"] == ["prometheus/rules/*.yaml"]
    tree["rule_files"] = ["rules/*.yaml"]
    tree["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    (discovery,) = tree["scrape_configs"][0]["file_sd_configs"]
    discovery["refresh_interval"] = "1s"  # the file is also watched
    path = folder / "prometheus.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


@contextmanager
def prometheus_of(run_folder: Path, folder: Path) -> Iterator[Prometheus]:
    """Start Prometheus and deploy/targets.py for a run; skip the test where there is no Prometheus."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed (Debian: apt install prometheus)")
    folder.mkdir()
    configuration, (port,) = write_configuration(folder), free_ports(1)
    log = folder / "prometheus.log"
    with ExitStack() as stack:
        targets = [str(DEPLOY / "targets.py"), str(run_folder), "--output", str(folder / "targets" / "run.json")]
        stack.enter_context(_running([sys.executable, *targets, "--every", "1"], folder / "targets.log"))
        stack.enter_context(
            _running(
                [
                    program,
                    f"--config.file={configuration}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                log,
            )
        )
        server = Prometheus(f"http://127.0.0.1:{port}", log)
        until(server.answers, what="Prometheus answering", within_s=PATIENCE_S)
        yield server


@contextmanager
def _running(command: Sequence[str], log: Path) -> Iterator[None]:
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)
