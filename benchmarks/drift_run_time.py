"""Windows between false drift alarms, measured: references of several sizes, streams whose neighbours are alike or not.

    python -m benchmarks.drift_run_time [--references N] [--page docs/drift.md]

Each row draws several references from the model in benchmarks/drift_labels.py, calibrates thresholds for each, and
counts the alarms of windows of labels no reference has seen, without any shift. Rows differ in the reference's size and
in whether neighbouring labels resemble each other, and if so whether thresholds were bootstrapped in blocks.
"""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.drift_labels import LabelModel
from benchmarks.markdown import table, write_between_markers
from xpm_stream.monitoring.drift_reference import build_reference
from xpm_stream.monitoring.drift_statistics import compute_statistics
from xpm_stream.monitoring.drift_thresholds import calibrate
from xpm_stream.monitoring.drift_windows import WindowLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row: a stream, a reference size, a bootstrap."""

    stream: str
    model: LabelModel
    reference_windows: int  # the reference's labels, in windows
    block_labels: int = 1


INDEPENDENT = LabelModel()
IN_RUNS = LabelModel(run_length=20)
CASES = (
    Case(stream="independent labels", model=INDEPENDENT, reference_windows=10),
    Case(stream="independent labels", model=INDEPENDENT, reference_windows=30),
    Case(stream="independent labels", model=INDEPENDENT, reference_windows=100),
    Case(stream="runs of 20 alike", model=IN_RUNS, reference_windows=100),
    Case(stream="runs of 20 alike", model=IN_RUNS, reference_windows=100, block_labels=20),
    Case(stream="runs of 20 alike", model=IN_RUNS, reference_windows=100, block_labels=100),
)


def measure(
    case: Case,
    *,
    window_labels: int,
    false_alarm_windows: float,
    replicates_per_alarm: int,
    references: int,
    windows: int,
    seed: int,
) -> list[float]:
    """Share of windows that alarm, for each reference."""
    rng = np.random.default_rng(seed)
    stream = case.model.draw(windows * window_labels, rng)  # consecutive labels: they keep what they share
    limits = WindowLimits(max_labels=window_labels, min_labels=window_labels, max_seconds=3600.0)
    rates = []
    for place in range(references):
        labels = case.model.draw(case.reference_windows * window_labels, rng)
        reference = build_reference(labels, name="frozen", teacher="v1")
        thresholds = calibrate(
            reference,
            limits,
            false_alarm_windows=false_alarm_windows,
            replicates_per_alarm=replicates_per_alarm,
            block_labels=case.block_labels,
            seed=place,
        )
        counts = reference.layout.count(stream).reshape(windows, window_labels, -1).sum(axis=1)
        bounds = np.array([np.inf if one is None else one for one in thresholds.at(window_labels)])
        rates.append(
            float((compute_statistics(reference.layout, reference.counts, counts) > bounds).any(axis=1).mean())
        )
    return rates


def run_time_table(cases: Sequence[Case], rates: Sequence[Sequence[float]]) -> str:
    """Rows: cases."""
    rows = []
    for case, some in zip(cases, rates, strict=True):
        mean, *ends = (_run_time(rate) for rate in (float(np.mean(some)), max(some), min(some)))
        blocks = "single labels" if case.block_labels == 1 else f"blocks of {case.block_labels}"
        rows.append([case.stream, f"{case.reference_windows} windows", blocks, mean, " to ".join(ends)])
    return table(["stream", "reference", "bootstrap", "windows between alarms", "lowest to highest reference"], rows)


def _run_time(rate: float) -> str:
    return f"{1 / rate:.0f}" if rate else "none"


def main(given: Sequence[str] | None = None) -> None:
    """Measure, print, and write into a page if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--window-labels", type=int, default=100, help="labels of a window")
    parser.add_argument("--false-alarm-windows", type=float, default=20.0, help="stated windows between alarms")
    parser.add_argument("--replicates-per-alarm", type=int, default=400, help="for the thresholds")
    parser.add_argument("--references", type=int, default=8, help="references of each row")
    parser.add_argument("--windows", type=int, default=2000, help="windows judged against each reference")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page", type=Path, help="also write the table between this page's markers")
    asked = parser.parse_args(given)
    rates = [
        measure(
            case,
            window_labels=asked.window_labels,
            false_alarm_windows=asked.false_alarm_windows,
            replicates_per_alarm=asked.replicates_per_alarm,
            references=asked.references,
            windows=asked.windows,
            seed=asked.seed,
        )
        for case in CASES
    ]
    said = (
        f"Stated: {asked.false_alarm_windows:g} windows of {asked.window_labels} labels between alarms. "
        f"{asked.references} references a row, {asked.windows:,} windows each, seed {asked.seed}, "
        f"{datetime.date.today()}."
    )
    text = f"{said}\n\n{run_time_table(CASES, rates)}"
    print(text)
    if asked.page:
        write_between_markers(asked.page, name="drift run time", text=text)


if __name__ == "__main__":
    main()
