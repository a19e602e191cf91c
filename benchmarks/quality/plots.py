"""The bench's curves as pictures: five promotions in a row, words that change, wrong nouns."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from benchmarks.quality.arms import BY_NAME
from benchmarks.quality.figures import Figures, mask_ap50
from benchmarks.quality.results import Snapshot, TrialResult
from benchmarks.quality.tables import NOISE_RATES, NOISE_ROWS, mean_ap, noise_arm

_COLOURS: Final = {"base": "#4c72b0", "target": "#c44e52", "early": "#c44e52", "late": "#dd8452", "right": "#55a868"}
_STYLE: Final = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "font.size": 9,
}

Series = Sequence[Sequence[float]]  # one list for each seed


def draw_all(figures: Figures, folder: Path) -> list[Path]:
    """Draw what the results are enough for; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    with plt.style.context(_STYLE):
        for name, draw in (("quality_continual", _continual), ("quality_noise", _noise)):
            figure = draw(figures)
            if figure is not None:
                path = folder / f"{name}.png"
                figure.savefig(path, dpi=130, bbox_inches="tight", metadata={"Software": None})
                plt.close(figure)
                drawn.append(path)
    return drawn


def _continual(figures: Figures) -> plt.Figure | None:
    if "promoted" not in figures or "shift" not in figures:
        return None
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
    promoted, shift = figures.of("promoted"), figures.of("shift")
    shots = [_teachers(figures, result) for result in promoted]
    steps = [shot.step if index else 0 for index, shot in enumerate(shots[0])]
    for split in ("base", "target"):
        _lines(left, steps, [[_ap(shot, split) for shot in of_seed] for of_seed in shots], split, name=split)
    left.set(title="five promotions", ylabel="generalized mask AP50, %")
    labels = [quality.step for quality in promoted[0].labels]
    shares = [[100 * quality.right["target"][0] / quality.right["target"][1] for quality in r.labels] for r in promoted]
    _lines(middle, labels, shares, "right", name="target words")
    middle.set(title="pseudo labels that are right", ylabel="%")
    shifted = [_teachers(figures, result) for result in shift]
    for name in ("early", "late"):
        curves = [
            [
                mean_ap(shot, [w for w in shot.targets if (w in result.late_targets) == (name == "late")])
                for shot in of_seed
            ]
            for result, of_seed in zip(shift, shifted, strict=True)
        ]
        _lines(right, steps, curves, name, name=f"{name} target classes")
    _lines(right, steps, [[_ap(shot, "base") for shot in of_seed] for of_seed in shifted], "base", name="base classes")
    half = shift[0].final.step / 2
    right.axvline(half, color="0.4", linestyle=":", linewidth=1)
    right.set(title="the words change at half time", ylabel="generalized mask AP50, %")
    for axes in (left, middle, right):
        axes.set(xlabel="step", ylim=(0, None))
        axes.legend(frameon=False, fontsize=8)
    return figure


def _noise(figures: Figures) -> plt.Figure | None:
    arms = {label: [noise_arm(arm, rate) for rate in NOISE_RATES] for label, arm in NOISE_ROWS}
    if not all(arm in figures for of_row in arms.values() for arm in (of_row[0], of_row[-1])):
        return None
    figure, axes = plt.subplots(figsize=(4.6, 3.2), layout="constrained")
    for colour, (label, of_row) in zip(("#c44e52", "#8172b2", "#64b5cd"), arms.items(), strict=True):
        there = [(100 * rate, arm) for rate, arm in zip(NOISE_RATES, of_row, strict=True) if arm in figures]
        means = [statistics.fmean(figures.values(arm, mask_ap50("target"))) for _, arm in there]
        axes.plot([rate for rate, _ in there], means, marker="o", color=colour, label=label.replace("`", ""))
    axes.set(xlabel="wrong nouns in captions, %", ylabel="target mask AP50, %", ylim=(0, None), title="one round")
    axes.legend(frameon=False, fontsize=8)
    return figure


def _teachers(figures: Figures, result: TrialResult) -> list[Snapshot]:
    start = BY_NAME[result.arm].start
    assert start is not None
    first = next(other.final for other in figures.of(start) if other.seed == result.seed)
    return [first, *result.promoted, result.final]


def _ap(shot: Snapshot, split: str) -> float:
    value = shot.scores.generalized[split].mask_ap50
    assert value is not None
    return value


def _lines(axes: Axes, steps: Sequence[int], curves: Series, colour: str, *, name: str) -> None:
    """Each seed thin, their mean thick."""
    for curve in curves:
        axes.plot(steps, curve, color=_COLOURS[colour], linewidth=0.8, alpha=0.4)
    mean = [statistics.fmean(values) for values in zip(*curves, strict=True)]
    axes.plot(steps, mean, color=_COLOURS[colour], linewidth=2, marker="o", markersize=3.5, label=name)
