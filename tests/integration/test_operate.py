"""An operator's hour, hastened: a real Prometheus, mixed-up captions, a collapsed teacher, a bad decision."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import REPOSITORY

Events = list[dict[str, Any]]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Events, str, Path]:
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed (Debian: apt install prometheus)")
    folder = tmp_path_factory.mktemp("operate") / "demo"
    command = [sys.executable, "-m", "benchmarks.operate", "--folder", str(folder)]
    answer = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=1700, check=False)
    said = answer.stdout[-6000:] + answer.stderr[-2000:]
    assert answer.returncode == 0, said
    events: Events = json.loads((folder / "timeline.json").read_text())
    return events, said, folder


def between(events: Events, start: str, end: str) -> Events:
    """What happened from the act that begins with `start` to the one that begins with `end`."""
    acts = [place for place, event in enumerate(events) if event["kind"] == "act"]
    (first,) = [place for place in acts if events[place]["what"].startswith(start)]
    (last,) = [place for place in acts if events[place]["what"].startswith(end)] if end else [len(events)]
    return events[first:last]


def facts(events: Events, kind: str) -> list[dict[str, Any]]:
    return [event["facts"] for event in events if event["kind"] == kind]


def names(events: Events, kind: str) -> list[str]:
    return [one["name"] for one in facts(events, kind)]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_data_that_go_bad_are_blamed_within_windows_and_nothing_learned_from_them_is_promoted(
    played: tuple[Events, str, Path],
) -> None:
    events, said, folder = played
    shift = between(events, "DATA SHIFT", "the crawler is mended")
    windows = facts(shift, "window")
    blamed = next(place for place, window in enumerate(windows) if window["cause"] in ("data", "both"))
    assert blamed <= 6, said  # right shards were ahead of the wrong ones, and a window is half a shard
    assert windows[blamed]["brake"], said
    assert "XpmDataDrift" in names(shift, "alert"), said
    decided = facts(shift, "decision")
    assert {one["action"] for one in decided if "drift_brake" in one["gates"]} == {"inconclusive"}, said
    status = (folder / "status-2-captions-mixed-up.txt").read_text()
    assert "drift holds promotions back" in status
    assert status.endswith("exit status 1\n")
    assert (folder / "status-1-healthy.txt").read_text().endswith("exit status 0\n"), "a better teacher calls nobody"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_collapsed_teacher_is_refused_and_the_alert_fires(played: tuple[Events, str, Path]) -> None:
    events, said, _ = played
    collapse = between(events, "TEACHER COLLAPSE", "A PERSON")
    decided = facts(collapse, "decision")
    collapsed = [one for one in decided if one["checkpoint"].startswith("collapsed-")]
    assert len(collapsed) >= 2, said
    assert {one["action"] for one in collapsed} == {"refuse"}, said
    assert all("base_ap50" in one["gates"] for one in collapsed), said
    assert "XpmPromotionRefused" in names(collapse, "alert"), said


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_collapsed_teacher_that_a_person_promotes_is_blamed_and_can_be_taken_back(
    played: tuple[Events, str, Path],
) -> None:
    events, said, folder = played
    person = between(events, "A PERSON", "and takes it back")
    (promoted,) = [
        one
        for one in facts(person, "decision")
        if one["action"] == "promote" and one["checkpoint"].startswith("collapsed-")
    ]
    teacher = f"v{promoted['number']}"
    windows = [one for one in facts(person, "window") if one["teacher"] == teacher]
    assert any(window["cause"] in ("teacher", "both") for window in windows), said
    assert "XpmTeacherDrift" in names(person, "alert"), said
    status = (folder / "status-4-promoted-by-hand.txt").read_text()
    assert f"{teacher}  " in status
    after = between(events, "and takes it back", "")
    assert any(one["teacher"] != teacher for one in facts(after, "window")), said
    assert "XpmTeacherDrift" in names(after, "over"), said
