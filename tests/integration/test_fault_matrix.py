"""The short form of the fault matrix: every crash point and every fault, with real processes and a stub network.

The long form is `python -m benchmarks.faults`; its table is in docs/faults.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from processes import REPOSITORY

from xpm_stream.crash_points import CRASH_POINTS

FAULTS = {"kill", "freeze", "redis restart", "redis cut", "redis rolled back", "disk full", "redis disk full"}


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    written = tmp_path_factory.mktemp("faults") / "cells.json"
    command = [sys.executable, "-m", "benchmarks.faults", "--short", "--parallel", "3", "--json", str(written)]
    answer = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=840, check=False)
    assert Path(written).exists(), answer.stdout[-3000:] + answer.stderr[-3000:]
    found: list[dict[str, Any]] = json.loads(written.read_text())["cells"]
    assert answer.returncode == (0 if all(cell["ok"] for cell in found) else 1), answer.stdout[-3000:]
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_is_lost_or_trained_twice_whatever_happens_wherever(cells: list[dict[str, Any]]) -> None:
    failed = [cell for cell in cells if not cell["ok"] or cell["lost"] or cell["twice"]]
    assert not failed, json.dumps(failed, indent=1)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_crash_point_is_met_by_sigkill_or_sigstop_and_every_fault_at_least_twice(
    cells: list[dict[str, Any]],
) -> None:
    assert {cell["point"] for cell in cells if cell["fault"] in ("kill", "freeze")} == CRASH_POINTS
    times = Counter(cell["fault"] for cell in cells)
    assert set(times) == FAULTS
    assert min(times.values()) >= 2
    assert {cell["role"] for cell in cells if cell["fault"] not in ("kill", "freeze")} == {
        "labeler",
        "trainer",
        "promoter",
    }


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_recoveries_are_seen_in_nearly_every_cell(cells: list[dict[str, Any]]) -> None:
    # A cell shows none where the second fault comes before the first recovery, and the last is seen always.
    assert sum(bool(cell["recoveries"]) for cell in cells) >= 0.9 * len(cells)
