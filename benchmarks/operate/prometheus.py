"""A real Prometheus that scrapes a run as deploy/prometheus_discovery.yaml says, but every second, with hasty rules."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
HASTE: Final = 30  # ten minutes of a rule become twenty seconds
_STARTING_S: Final = 120.0


class PrometheusMissing(Exception):
    """The program is not installed."""


class Prometheus:
    """A server that answers queries and knows which alerts fire."""

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self._log = log

    def value(self, expression: str) -> float | None:
        """The value of an expression with one series; none: it has no series now."""
        result = self.ask("query", query=expression)["result"]
        assert len(result) <= 1, result
        return float(result[0]["value"][1]) if result else None

    def alerts(self, state: str = "firing") -> dict[str, dict[str, Any]]:
        """What fires now (or is pending), by name."""
        found = self.ask("alerts")["alerts"]
        return {alert["labels"]["alertname"]: alert for alert in found if alert["state"] == state}

    def targets(self) -> dict[str, str]:
        """Role -> health of each target."""
        active = self.ask("targets")["activeTargets"]
        return {target["labels"]["role"]: target["health"] for target in active}

    def rule_problems(self) -> list[str]:
        """What the last evaluation of any rule complained of."""
        groups = self.ask("rules")["groups"]
        return [
            f"{rule['name']}: {rule['lastError']}" for group in groups for rule in group["rules"] if "lastError" in rule
        ]

    def answers(self) -> bool:
        """Whether it is ready to be asked."""
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def said(self) -> str:
        """The end of its log."""
        return self._log.read_text(errors="replace")[-1500:]

    def ask(self, what: str, **arguments: str) -> Any:
        """The data of an answer of its HTTP API."""
        url = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(arguments)}"
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{url}: {error.read().decode()}") from error


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
def start_prometheus(run_folder: Path, folder: Path) -> Iterator[Prometheus]:
    """Start Prometheus and deploy/targets.py for a run; both end with the context.

    Raises:
        PrometheusMissing: there is no such program on this machine.
    """
    program = shutil.which("prometheus")
    if program is None:
        raise PrometheusMissing("prometheus is not installed (Debian: apt install prometheus)")
    folder.mkdir()
    configuration, port = write_configuration(folder), _free_port()
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
        _await_answer(server)
        yield server


def _await_answer(server: Prometheus) -> None:
    ends = time.monotonic() + _STARTING_S
    while not server.answers():
        if time.monotonic() > ends:
            raise TimeoutError(f"Prometheus does not answer: {server.said()}")
        time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


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
