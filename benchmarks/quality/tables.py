"""The bench's results as tables shaped like the paper's, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from benchmarks.markdown import table
from benchmarks.quality.arms import BY_NAME, SECOND_WEIGHTINGS, WEIGHTINGS
from benchmarks.quality.figures import Figures, Value, box_ap50, mask_ap50, spread
from benchmarks.quality.goals import goals_table
from benchmarks.quality.results import Snapshot, TrialResult

_METHODS: Final = (
    "teacher",
    "ovr",
    "sb",
    "ba-rpn",
    "omp",
    "cap2det",
    "soft-teacher",
    "unbiased-teacher",
    "paper",
    "released",
    "student",
    "student-2",
    "ovr-student",
    "one-teacher",
    "promoted",
)
_PARTS: Final = (
    "teacher",
    "no-captions",
    "base-nouns",
    "only-lx",
    "argmax",
    "exclusive",
    "weighting-none",
    "student",
    "background",
)
_PART_LABELS: Final = {
    "weighting-none": "the same, boxes voted",
    "student": "the same, noise in L_M (Eq. 6): the default",
}
SHIFT_ARMS: Final = {"shift": "no replay", "shift-replay": "replay"}
NOISE_RATES: Final = (0.0, 0.2, 0.4)
NOISE_ROWS: Final = (  # of one round
    ("XPM here", "student"),
    ("argmax, no noise estimation", "argmax"),
    ("`xpm.variant: paper`", "paper"),
)
_WHOLE_RUNS: Final = (
    ("XPM here, 300 steps, five promotions", "promoted"),
    ("argmax, no noise estimation, 300 steps, one teacher", "argmax-300"),
)
TITLES: Final = {
    "methods": "mask AP50 of every method (the paper's Table 1)",
    "boxes": "box AP50 of every method (the paper's Table 2)",
    "parts": "what each part adds (the paper's Figure 6)",
    "weightings": "weightings of the losses (the paper's Table 3), generalized mask AP50",
    "second": "weightings in a second round, generalized mask AP50",
    "noise": "generalized mask AP50 by share of wrong nouns in the captions",
    "labels": "pseudo labels that are right, and how well their reliability tells",
    "continual": "one student, five promotions",
    "shift": "words that change at half time, five promotions",
    "style": "another drawing style at test time",
    "recall": "proposals",
    "goals": "goals",
}
_SPLITS: Final = ("base", "target", "all")


def all_tables(figures: Figures) -> dict[str, str]:
    """Every table that the results are enough for."""
    makers: dict[str, Callable[[Figures], str | None]] = {
        "methods": partial(_methods, measure=mask_ap50),
        "boxes": partial(_methods, measure=box_ap50),
        "parts": _parts,
        "weightings": _weightings,
        "second": _second_round,
        "noise": _noise,
        "labels": _labels,
        "continual": partial(_continual, arm="promoted"),
        "shift": _shift,
        "style": _style,
        "recall": _recall,
        "goals": goals_table,
    }
    return {name: made for name, make in makers.items() if (made := make(figures)) is not None}


def _methods(figures: Figures, *, measure: Callable[..., Value]) -> str | None:
    head = ["", *(f"constrained, {split}" for split in _SPLITS[:2]), *(f"generalized, {split}" for split in _SPLITS)]
    values = [
        *(measure(split, setting="constrained") for split in _SPLITS[:2]),
        *(measure(split) for split in _SPLITS),
    ]
    return _rows(figures, head, [(BY_NAME[arm].label, arm) for arm in _METHODS], values)


def _parts(figures: Figures) -> str | None:
    head = ["", *(f"generalized, {split}" for split in _SPLITS)]
    rows = [(_PART_LABELS.get(arm, BY_NAME[arm].label), arm) for arm in _PARTS]
    return _rows(figures, head, rows, [mask_ap50(split) for split in _SPLITS])


def _style(figures: Figures) -> str | None:
    if "sketch" not in figures:
        return None
    rows = [(BY_NAME[arm].label, arm) for arm in ("student-2", "sketch")]
    return _rows(figures, ["generalized", *_SPLITS], rows, [mask_ap50(split) for split in _SPLITS])


def _rows(figures: Figures, head: list[str], rows: Sequence[tuple[str, str]], values: Sequence[Value]) -> str | None:
    made = [[label, *(figures.cell(arm, value) for value in values)] for label, arm in rows if arm in figures]
    return table(head, made) if made else None


def weighting_arm(weighting: str, *, noisy: bool) -> str:
    """The arm of a weighting; the default's is the plain student."""
    if not noisy and weighting == "stochastic":
        return "student"
    return f"weighting-{weighting}{'-noise-0.4' if noisy else ''}"


def _weightings(figures: Figures) -> str | None:
    head = ["`xpm.weighting`"]
    head += [f"{split}, {noise}" for noise in ("true captions", "40 % wrong nouns") for split in _SPLITS]
    rows = []
    for weighting in WEIGHTINGS:
        arms = [weighting_arm(weighting, noisy=noisy) for noisy in (False, True)]
        if any(arm in figures for arm in arms):
            rows.append([f"`{weighting}`", *(figures.cell(arm, mask_ap50(split)) for arm in arms for split in _SPLITS)])
    return table(head, rows) if rows else None


def _second_round(figures: Figures) -> str | None:
    """What a weighting adds where the teacher is a student already."""
    rows = [
        ("true captions: their teacher", "student"),
        ("`stochastic`", "student-2"),
        ("`label`", "second-label"),
        ("40 % wrong nouns: their teacher", weighting_arm("stochastic", noisy=True)),
        *((f"`{weighting}`", f"second-{weighting}-noise-0.4") for weighting in SECOND_WEIGHTINGS),
    ]
    if not any(arm in figures for _, arm in rows if arm.startswith("second")):
        return None
    return _rows(figures, ["", *_SPLITS], rows, [mask_ap50(split) for split in _SPLITS])


def noise_arm(arm: str, rate: float) -> str:
    """The arm at a rate of wrong nouns."""
    if rate == 0:
        return arm
    if arm == "student" and rate == 0.4:
        return weighting_arm("stochastic", noisy=True)
    return f"{arm}-noise-{rate}"


def _noise(figures: Figures) -> str | None:
    rows = []
    for label, arm in (*NOISE_ROWS, *_WHOLE_RUNS):
        arms = [noise_arm(arm, rate) for rate in NOISE_RATES]
        rows.append([label, *(figures.cell(one, mask_ap50(split)) for one in arms for split in ("base", "target"))])
    if not any(noise_arm(arm, rate) in figures for _, arm in NOISE_ROWS for rate in NOISE_RATES[1:]):
        return None
    return table(["", *(f"{split}, {100 * rate:.0f} %" for rate in NOISE_RATES for split in ("base", "target"))], rows)


def _labels(figures: Figures) -> str | None:
    """Right labels and the AUC of their reliability, by teacher."""
    rows = []
    for arm, whose in (
        ("argmax", "first teacher, argmax"),
        ("student", "first teacher, exclusive"),
        ("student-2", "second teacher, exclusive"),
        ("weighting-stochastic-noise-0.4", "first teacher, exclusive, 40 % wrong nouns"),
    ):
        if arm in figures:
            rows.append([whose, *(_label_cells(figures.of(arm), number=0))])
    head = ["labels of", "right, target", "right, all", "AUC, target", "AUC, all"]
    return table(head, rows) if rows else None


def _label_cells(results: Sequence[TrialResult], *, number: int) -> list[str]:
    cells = []
    for group in ("target", "all"):
        counts = [result.labels[number].right[group] for result in results if len(result.labels) > number]
        cells.append(spread([100 * right / judged for right, judged in counts if judged]) + " %")
    for group in ("target", "all"):
        values = [result.labels[number].auc[group] for result in results if len(result.labels) > number]
        found = [value for value in values if value is not None]
        cells.append("-" if not found else f"{sum(found) / len(found):.2f}")
    return cells


def _continual(figures: Figures, *, arm: str) -> str | None:
    if arm not in figures:
        return None
    results = figures.of(arm)
    rows = []
    for number, quality in enumerate(results[0].labels):
        snapshots = [_teacher_of(result, number, figures) for result in results]
        rows.append(
            [
                "first teacher" if number == 0 else f"promotion {number}, step {quality.step}",
                *(_snapshot_cell(snapshots, split) for split in _SPLITS),
                *_label_cells(results, number=number),
            ]
        )
    last = [result.final for result in results]
    rows.append([f"student at the end, step {last[0].step}", *(_snapshot_cell(last, s) for s in _SPLITS), *"----"])
    head = ["", *(f"AP50, {split}" for split in _SPLITS)]
    return table([*head, "labels right, target", "labels right, all", "AUC, target", "AUC, all"], rows)


def _teacher_of(result: TrialResult, number: int, figures: Figures) -> Snapshot | None:
    if number:
        return result.promoted[number - 1]
    start = BY_NAME[result.arm].start
    assert start is not None
    return next((other.final for other in figures.of(start) if other.seed == result.seed), None)


def _snapshot_cell(snapshots: Sequence[Snapshot | None], split: str) -> str:
    values = [one.scores.generalized[split].mask_ap50 for one in snapshots if one is not None]
    return spread([value for value in values if value is not None])


def _shift(figures: Figures) -> str | None:
    """Target classes by when they are in the stream: the early ones leave at half time."""
    arms = [arm for arm in SHIFT_ARMS if arm in figures]
    rows = [row for arm in arms for row in _shift_rows(figures.of(arm), label=SHIFT_ARMS[arm])]
    return table(["AP50", "early target classes", "late target classes", "base classes"], rows) if rows else None


def _shift_rows(results: Sequence[TrialResult], *, label: str) -> list[list[str]]:
    rows = []
    for number in range(len(results[0].promoted) + 1):
        snapshots = [(result, (*result.promoted, result.final)[number]) for result in results]
        rows.append(
            [
                f"{label}, step {snapshots[0][1].step}",
                spread([mean_ap(shot, _early(result, shot)) for result, shot in snapshots]),
                spread([mean_ap(shot, result.late_targets) for result, shot in snapshots]),
                _snapshot_cell([shot for _, shot in snapshots], "base"),
            ]
        )
    return rows


def _early(result: TrialResult, snapshot: Snapshot) -> list[str]:
    return [name for name in snapshot.targets if name not in result.late_targets]


def mean_ap(snapshot: Snapshot, names: Sequence[str]) -> float:
    """Mean over classes that have held-out instances."""
    values = [value for name in names if (value := snapshot.by_class[name]) is not None]
    return sum(values) / len(values)


def _recall(figures: Figures) -> str | None:
    rows = []
    for arm in ("teacher", "student", "student-2", "promoted"):
        if arm not in figures:
            continue
        for split in ("base", "target"):
            of_seeds = [result.final.scores.proposal_recall.get(split, {}) for result in figures.of(arm)]
            budgets = sorted({budget for found in of_seeds for budget in found}, key=int)
            cells = [spread([f for found in of_seeds if (f := found.get(budget)) is not None]) for budget in budgets]
            rows.append([f"{BY_NAME[arm].label}, {split}", *cells])
    if not rows:
        return None
    width = max(map(len, rows)) - 1
    return table(["class-agnostic proposal recall at IoU 0.5", *(f"@{b}" for b in budgets)][: width + 1], rows)
