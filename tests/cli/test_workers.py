"""The entry points for process managers are the commands of the same roles."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WORKERS = sorted((Path(__file__).parents[2] / "workers").glob("[a-z]*.py"))


@pytest.mark.parametrize("worker", WORKERS, ids=[path.stem for path in WORKERS])
def test_a_worker_takes_a_configuration_and_overrides(worker: Path, tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("name: a")
    for arguments, said in (
        ([str(tmp_path / "none.yaml")], "error: cannot read configuration"),
        ([str(config), "--set", "labeler.worker=2"], "did you mean 'labeler.workers'"),
    ):
        command = [sys.executable, str(worker), *arguments]
        ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
        assert ended.returncode == 1
        assert said in ended.stderr


def test_every_role_has_a_worker() -> None:
    assert {path.stem for path in WORKERS} >= {"labeler", "trainer", "promoter", "drift_monitor"}
