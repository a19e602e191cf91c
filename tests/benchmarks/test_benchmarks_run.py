from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY))

from benchmarks.figures import Figure, Goal, paired_ratios  # noqa: E402
from benchmarks.memory import RunFailed, measure, role_of  # noqa: E402
from benchmarks.queue_throughput import message_sizes  # noqa: E402

XPM = ["/venv/bin/python", "-m", "xpm_stream.cli.main"]


def run_all(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.run_all", "--tiny", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=240, check=False)


def test_one_command_prints_every_figure_beside_its_goal_and_writes_json(tmp_path: Path) -> None:
    answer = run_all("--only", "labelling", "training", "nouns", "queue", "--json", str(tmp_path / "figures.json"))
    assert answer.returncode == 0, answer.stderr
    written = json.loads((tmp_path / "figures.json").read_text())
    goals = {figure["name"]: (figure["goal"] or {}).get("bound") for figure in written["figures"]}
    assert goals == {
        "labelling images/s : bare inference loop": 0.85,
        "training step : torchvision step (its own pooling)": 1.2,
        "training step : torchvision step (our pooling)": 1.2,
        "captions searched for nouns": 20_000,
        "labels/s : raw XADD, XREADGROUP": 0.6,
        "labels/s : raw XADD, XREADGROUP, XACK, XDEL": 0.6,
        "bytes a label, image by reference": 1000,
        "bytes a label, image inline": None,
    }
    assert all(figure["verdict"] in ("met", "missed") for figure in written["figures"] if figure["goal"])
    assert written["machine"]["cpu_cores"] >= 1
    assert written["date"].startswith("20")
    for name in goals:
        assert name.split(" ")[0] in answer.stdout
    assert "benchmarks.run_all --tiny" in answer.stdout


@pytest.mark.slow
def test_memory_is_told_for_each_process_of_a_run() -> None:
    overrides = ["teacher.steps=1", "prepare.synthetic.settings={caption_images: 16}", "promotion.every_steps=2"]
    peaks = {figure.name.removeprefix("peak memory, "): figure.median for figure in measure(overrides=overrides)}
    assert {
        "up",
        "teacher",
        "labeler-0",
        "labeler-1",
        "trainer",
        "promoter",
        "monitor",
        "redis",
        "all at once",
    } <= peaks.keys()
    # Those with torch hold much more than those without.
    assert min(peaks[name] for name in ("teacher", "trainer", "labeler-0", "promoter")) > 2 * peaks["monitor"]
    assert peaks["up"] < 250, "up imports torch"


def test_a_run_that_fails_is_an_error_with_its_last_lines() -> None:
    with pytest.raises(RunFailed, match="unknown key 'nonsense'"):
        measure(overrides=["nonsense=1"])


@pytest.mark.parametrize(
    ("command_line", "role"),
    [
        ([*XPM, "up", "c.yaml"], "up"),
        ([*XPM, "--end-with-parent", "17", "label", "--index", "1", "c.yaml"], "labeler-1"),
        ([*XPM, "--end-with-parent", "17", "train", "c.yaml"], "trainer"),
        (["/usr/bin/redis-server 127.0.0.1:0", "redis.conf"], "redis"),
        (["/venv/bin/python", "-I", "-S", "/x/redis_supervisor.py", "lock"], "redis supervisor"),
        (["/venv/bin/python", "-c", "from multiprocessing.spawn import spawn_main"], None),
    ],
)
def test_processes_are_known_by_their_command_lines(command_line: list[str], role: str | None) -> None:
    assert role_of(command_line) == role


def test_goals_are_met_or_missed_by_the_median() -> None:
    ratios = paired_ratios([8.0, 9.0, 1.0], [10.0, 10.0, 10.0])
    figure = Figure(name="x", values=ratios, unit="ratio", goal=Goal(bound=0.8))
    assert (figure.median, figure.verdict) == (0.8, "met")
    assert Figure(name="x", values=ratios, unit="ratio", goal=Goal(bound=0.7, at_least=False)).verdict == "missed"


def test_a_label_by_reference_is_under_a_kilobyte() -> None:
    by_reference = message_sizes()[0]
    assert by_reference.verdict == "met"
    assert by_reference.median > 3 * 98  # the masks alone
