"""Windows until the drift alarm after shifts of stated size, at a stated run time between false alarms.

    python -m benchmarks.drift_delay [--window-labels N] [--false-alarm-windows N] [--page docs/drift.md]

Labels come from the model in benchmarks/drift_labels.py. Windows are drawn from a large pool of labels of each shift
and judged as the monitor judges them, against one reference. Every window is wholly shifted: a real shift begins inside
a window, which adds half a window on average. Delays count windows from the shift to the alarm, the alarm's included.
"""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmarks.drift_labels import Floats, LabelModel
from benchmarks.markdown import table, write_between_markers
from xpm_stream.monitoring.drift_measures import LabelMeasures
from xpm_stream.monitoring.drift_reference import DriftReference, build_reference
from xpm_stream.monitoring.drift_statistics import WatchedStatistic, compute_statistics
from xpm_stream.monitoring.drift_thresholds import DriftThresholds, calibrate, draw_windows
from xpm_stream.monitoring.drift_windows import WindowLimits

USUAL = LabelModel()
SHIFTS = {
    "none (false alarms)": USUAL,
    **{
        f"captions turn noisy: {100 * share:.0f}% wrong words instead of 10%": LabelModel(noisy_share=share)
        for share in (0.12, 0.15, 0.2, 0.4)
    },
    **{
        f"another domain: {100 * share:.0f}% of the images": LabelModel(other_domain_share=share)
        for share in (0.05, 0.1, 0.2, 0.5)
    },
    **{f"the word of rank {rank + 1} vanishes": LabelModel(vanished_word=rank) for rank in (0, 4, 19)},
}
MIN_ALARMS = 10  # with fewer the mean would say nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """What one shift came to."""

    shift: str
    effects: dict[str, float]  # change of a quantity's mean, in standard deviations of the reference's values
    windows: int  # judged
    alarms: int
    mean: float | None  # windows until the alarm; None: too few alarms
    percentile_95: float | None
    first_above: str  # the statistic that alarms were most often due to


def run_lengths(alarms: ArrayLike) -> NDArray[np.intp]:
    """Windows from one alarm to the next, and from the start to the first."""
    places = np.flatnonzero(np.asarray(alarms))
    return np.diff(places, prepend=-1)


def measure_shift(
    name: str,
    model: LabelModel,
    *,
    reference: DriftReference,
    reference_labels: Sequence[LabelMeasures],
    thresholds: DriftThresholds,
    pool: int,
    windows: int,
    rng: np.random.Generator,
) -> Delay:
    """Judge windows of labels that the model gives."""
    labels = model.draw(pool, rng)
    size = thresholds.window_labels[-1]
    counts = draw_windows(reference.layout.count(labels), window_labels=size, windows=windows, rng=rng)
    values = compute_statistics(reference.layout, reference.counts, counts)
    limits = np.array([np.inf if one is None else one for one in thresholds.at(size)])
    alarms = (values > limits).any(axis=1)
    lengths = run_lengths(alarms)
    enough = len(lengths) >= MIN_ALARMS
    return Delay(
        shift=name,
        effects=effects(reference_labels, labels),
        windows=windows,
        alarms=len(lengths),
        mean=float(lengths.mean()) if enough else None,
        percentile_95=float(np.percentile(lengths, 95)) if enough else None,
        first_above=most_exceeded(values[alarms] / limits, thresholds.statistics) if enough else "-",
    )


def effects(before: Sequence[LabelMeasures], after: Sequence[LabelMeasures]) -> dict[str, float]:
    """Change of mean reliability and box area in standard deviations of the values before (Cohen's d)."""
    found = {}
    for quantity in ("reliability", "box_area_share"):
        old, new = (np.array([value for label in some for value in label.values(quantity)]) for some in (before, after))
        found[quantity] = float((new.mean() - old.mean()) / old.std())
    return found


def most_exceeded(ratios: Floats, statistics: Sequence[WatchedStatistic]) -> str:
    """The statistic that most often was furthest above its threshold."""
    furthest = np.nanargmax(ratios, axis=1)
    quantity, statistic = statistics[int(np.bincount(furthest).argmax())]
    return f"{quantity} {statistic}"


def measure(
    *,
    window_labels: int,
    false_alarm_windows: float,
    reference_labels: int,
    pool: int,
    windows: int,
    replicates_per_alarm: int = 200,
    seed: int = 0,
) -> list[Delay]:
    """Measure every shift against one reference."""
    rng = np.random.default_rng(seed)
    labels = USUAL.draw(reference_labels, rng)
    reference = build_reference(labels, name="frozen", teacher="v1")
    limits = WindowLimits(max_labels=window_labels, min_labels=window_labels, max_seconds=3600.0)
    thresholds = calibrate(
        reference,
        limits,
        false_alarm_windows=false_alarm_windows,
        replicates_per_alarm=replicates_per_alarm,
        seed=seed,
    )
    return [
        measure_shift(
            name,
            model,
            reference=reference,
            reference_labels=labels,
            thresholds=thresholds,
            pool=pool,
            windows=windows,
            rng=rng,
        )
        for name, model in SHIFTS.items()
    ]


def delay_table(delays: Sequence[Delay]) -> str:
    """Rows: shifts."""
    rows = []
    for one in delays:
        effect = ", ".join(f"{one.effects[quantity]:+.2f}" for quantity in ("reliability", "box_area_share"))
        mean, late = (f"> {one.windows / MIN_ALARMS:.0f}", "-") if one.mean is None else _shown(one)
        rows.append([one.shift, effect, mean, late, str(one.alarms), one.first_above])
    head = ["shift", "effect on reliability, box area", "windows, mean", "95th percentile", "alarms", "mostly due to"]
    return table(head, rows)


def _shown(one: Delay) -> tuple[str, str]:
    return f"{one.mean:.1f}", f"{one.percentile_95:.0f}"


def main(given: Sequence[str] | None = None) -> None:
    """Measure, print, and write into a page if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--window-labels", type=int, default=500, help="labels of a window")
    parser.add_argument("--false-alarm-windows", type=float, default=200.0, help="windows between false alarms")
    parser.add_argument("--reference-labels", type=int, default=20_000, help="labels of the reference")
    parser.add_argument("--pool", type=int, default=40_000, help="labels of each shift that windows are drawn from")
    parser.add_argument("--windows", type=int, default=20_000, help="windows judged of each shift")
    parser.add_argument("--replicates-per-alarm", type=int, default=200, help="for the thresholds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page", type=Path, help="also write the table between this page's markers")
    asked = parser.parse_args(given)
    delays = measure(
        window_labels=asked.window_labels,
        false_alarm_windows=asked.false_alarm_windows,
        reference_labels=asked.reference_labels,
        pool=asked.pool,
        windows=asked.windows,
        replicates_per_alarm=asked.replicates_per_alarm,
        seed=asked.seed,
    )
    said = (
        f"Windows of {asked.window_labels} labels, {asked.false_alarm_windows:g} windows between false alarms, "
        f"a reference of {asked.reference_labels:,} labels, {asked.windows:,} windows of each shift, "
        f"seed {asked.seed}, {datetime.date.today()}."
    )
    text = f"{said}\n\n{delay_table(delays)}"
    print(text)
    if asked.page:
        write_between_markers(asked.page, name="drift delay", text=text)


if __name__ == "__main__":
    main()
