from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY))

from benchmarks.markdown import MarkerMissing, table, write_between_markers  # noqa: E402
from benchmarks.memory_flat import Course  # noqa: E402

BLOCKS = ("end_to_end", "scripts", "redis", "redis_scripts", "drain", "ledger")


def run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.slow
def test_scale_measures_every_part_with_real_processes_and_refreshes_its_page(tmp_path: Path) -> None:
    page = tmp_path / "scale.md"
    page.write_text("\n".join(f"<!-- scale {name} -->\n(nothing yet)\n<!-- /scale {name} -->" for name in BLOCKS))
    answer = run("scale", "--tiny", "--labelers", "3", "--json", f"{tmp_path}/s.json", "--markdown", str(page))
    assert answer.returncode == 0, answer.stderr
    written = page.read_text()
    assert "(nothing yet)" not in written
    assert "--tiny" in written, "the command stands with the numbers"
    found = json.loads((tmp_path / "s.json").read_text())
    (run_of_all,) = found["end_to_end"]
    assert (run_of_all["labelers"], run_of_all["samples"]) == (3, 120)
    assert run_of_all["commits"] >= 120 / run_of_all["batch_images"]
    assert 0 < run_of_all["commit_p50_ms"] <= run_of_all["commit_p99_ms"] <= run_of_all["commit_max_ms"]
    assert {"commit", "read", "acknowledge"} <= {script["name"] for script in run_of_all["scripts"]}
    (alone,) = found["redis"]
    assert alone["labels_per_s"] > 0
    assert alone["used_bytes_per_label"] > alone["bytes_per_label"], "Redis holds a label with some overhead"
    assert all(found["drain"][0][f"{name}_per_s"] > 0 for name in ("labeler", "read", "feed", "trainer"))
    names = [operation["name"] for operation in found["ledger"][0]["operations"]]
    assert {"audit", "stats", "commit of 8 labels", "settle, nothing to do"} <= set(names)


@pytest.mark.slow
def test_memory_flat_tells_the_course_of_each_role_and_what_redis_keeps(tmp_path: Path) -> None:
    sizes = ("--samples", "4000", "--shards", "8", "--warm-up", "200", "--payload", "inline", "--look-every-s", "0.02")
    answer = run("memory_flat", *sizes, "--json", f"{tmp_path}/m.json")
    # So short a run may well grow by more than the goal: the status only says so.
    assert answer.returncode in (0, 1), answer.stderr
    found = json.loads((tmp_path / "m.json").read_text())
    assert found["growth"].keys() == {"labeler", "trainer", "promoter"}
    assert (answer.returncode == 1) == (max(found["growth"].values()) >= 0.05)
    assert found["left"]["shards"] == 8
    left = set(found["left"]["keys"])
    # Grants of the last leases go with the next grant.
    assert left - {"grants", "grant_deadlines"} == {"counters", "labels", "meta", "shards", "skipped_bits"}
    granted = sum(found["left"]["keys"].get(name, (0, 0))[1] for name in ("grants", "grant_deadlines"))
    assert granted < 10_000, "grants do not pile up"
    assert found["left"]["keys"]["labels"][1] < 10_000, "no label stays"


def test_growth_is_that_of_the_fitted_line_after_the_warm_up() -> None:
    samples = list(range(0, 101_000, 1000))
    leaking = [10**8 + 100 * count for count in samples]
    course = Course(role="x", samples=samples, rss=[1, 2, *leaking[2:]], uss=leaking, warm_up=2000)
    assert course.slope(course.rss) == pytest.approx(10**6)
    assert course.growth == pytest.approx(98_000 * 100 / (10**8 + 2000 * 100))
    flat = Course(role="x", samples=samples, rss=[10**8] * 101, uss=[10**8] * 101, warm_up=2000)
    assert abs(flat.growth) < 1e-9


def test_a_table_is_written_between_its_markers_only(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- a -->\nold\n<!-- /a -->\nbetween\n<!-- b -->\nkept\n<!-- /b -->\n")
    write_between_markers(page, name="a", text=table(["x", "y"], [["1", "2"]]))
    written = "| x | y |\n| --- | ---: |\n| 1 | 2 |"
    assert page.read_text() == f"before\n<!-- a -->\n{written}\n<!-- /a -->\nbetween\n<!-- b -->\nkept\n<!-- /b -->\n"
    with pytest.raises(MarkerMissing, match="<!-- c -->"):
        write_between_markers(page, name="c", text="")
