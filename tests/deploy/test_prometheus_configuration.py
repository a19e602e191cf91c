from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from xpm_stream.config import RunConfig
from xpm_stream.monitoring.metrics import Metrics
from xpm_stream.monitoring.serving import serve_metrics
from xpm_stream.stages.drift_watch import PORT_OFFSET as MONITOR_PORT_OFFSET

DEPLOY = Path(__file__).parents[2] / "deploy"


def check_config(path: Path) -> subprocess.CompletedProcess[str]:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt install prometheus)")
    return subprocess.run([promtool, "check", "config", str(path)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["prometheus.yaml", "prometheus_discovery.yaml"])
def test_prometheus_accepts_the_file(name: str) -> None:
    answer = check_config(DEPLOY / name)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_the_ports_are_those_of_the_default_configuration() -> None:
    tree = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text())
    groups = {group["labels"]["role"]: group["targets"] for group in tree["scrape_configs"][0]["static_configs"]}
    host, port = RunConfig().metrics.host, RunConfig().metrics.port
    assert groups["trainer"] == [f"{host}:{port}"]
    assert groups["promoter"] == [f"{host}:{port + 1}"]
    assert groups["monitor"] == [f"{host}:{port + MONITOR_PORT_OFFSET}"]
    assert groups["labeler"] == [f"{host}:{port + 2 + index}" for index in range(len(groups["labeler"]))]


def test_discovered_targets_are_the_living_processes_of_a_run(tmp_path: Path) -> None:
    run, output = tmp_path / "my_run", tmp_path / "targets" / "my_run.json"
    command = [sys.executable, str(DEPLOY / "targets.py"), str(run), "--output", str(output)]
    with serve_metrics(Metrics("labeler"), run_folder=run) as server:
        subprocess.run(command, check=True, timeout=60)
        port = server.endpoint.port
    assert json.loads(output.read_text()) == [
        {"targets": [f"127.0.0.1:{port}"], "labels": {"role": "labeler", "run": "my_run"}}
    ]
    shutil.copy(DEPLOY / "prometheus_discovery.yaml", tmp_path)
    answer = check_config(tmp_path / "prometheus_discovery.yaml")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "my_run.json" in answer.stdout or "SUCCESS" in answer.stdout
    subprocess.run(command, check=True, timeout=60)
    assert json.loads(output.read_text()) == [], "a process that ended is still listed"
