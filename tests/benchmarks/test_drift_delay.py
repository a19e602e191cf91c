from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import drift_cost, drift_delay, drift_run_time


def test_the_benchmark_prints_a_delay_for_each_shift_and_writes_it_into_a_page(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- drift delay -->\n<!-- /drift delay -->\nafter\n")
    sizes = ["--window-labels=100", "--reference-labels=1000", "--pool=1000", "--windows=200"]
    drift_delay.main([*sizes, "--false-alarm-windows=20", "--replicates-per-alarm=20", f"--page={page}"])
    printed = capsys.readouterr().out
    assert printed.strip() in page.read_text()
    rows = {row.split("|")[1].strip(): row for row in printed.splitlines() if row.startswith("| ")}
    assert set(drift_delay.SHIFTS) <= set(rows)
    loud = rows["captions turn noisy: 40% wrong words instead of 10%"].split("|")
    assert float(loud[3]) < 2


@pytest.mark.parametrize(("alarms", "lengths"), [([0, 0, 1, 1, 0], [3, 1]), ([1], [1]), ([0, 0], [])])
def test_a_run_counts_the_windows_up_to_its_alarm(alarms, lengths):
    assert drift_delay.run_lengths([bool(one) for one in alarms]).tolist() == lengths


def test_run_times_are_printed_for_each_case_and_written_into_a_page(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("<!-- drift run time -->\n<!-- /drift run time -->\n")
    sizes = ["--references=2", "--windows=100", "--window-labels=50", "--false-alarm-windows=5"]
    drift_run_time.main([*sizes, "--replicates-per-alarm=20", f"--page={page}"])
    printed = capsys.readouterr().out
    assert printed.strip() in page.read_text()
    rows = [row for row in printed.splitlines() if row.startswith(("| independent", "| runs"))]
    assert len(rows) == len(drift_run_time.CASES)
    assert float(rows[2].split("|")[4]) == pytest.approx(5, rel=0.5)


def test_what_a_monitor_costs_is_measured_with_every_label_seen():
    server, monitor = drift_cost.measure(labels=64, rounds=2)  # it fails by itself if the monitor sees another number
    assert (len(server.values), len(monitor.values)) == (2, 2)
    assert min(monitor.values) > 0
