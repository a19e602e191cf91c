"""The bars this project set itself, each with what was measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from benchmarks.markdown import table
from benchmarks.quality.arms import SECOND_WEIGHTINGS, WEIGHTINGS
from benchmarks.quality.figures import Difference, Figures, mask_ap50

_RIVALS: Final = ("soft-teacher", "unbiased-teacher")
_TARGET, _BASE = mask_ap50("target"), mask_ap50("base")
_NOISY: Final = "weighting-{}-noise-0.4"
_SCORES: Final = tuple(name for name in WEIGHTINGS if name not in ("none", "stochastic"))


def _over(arm: str, other: str) -> Callable[[Figures], Difference | None]:
    return lambda figures: figures.difference(arm, other, _TARGET)


def _over_best_rival(figures: Figures) -> Difference | None:
    found = [one for rival in _RIVALS if (one := figures.difference("student", rival, _TARGET))]
    return min(found, key=lambda one: one.mean) if len(found) == len(_RIVALS) else None


def _best_of(figures: Figures, arms: Sequence[str], other: str) -> Difference | None:
    found = [one for arm in arms if (one := figures.difference(arm, other, _TARGET))]
    return max(found, key=lambda one: one.mean) if found else None


def _best_weighting(figures: Figures) -> Difference | None:
    return _best_of(figures, [_NOISY.format(name) for name in _SCORES], _NOISY.format("none"))


# What, at least how much, how it is measured: generalized mask AP50.
_GOALS: Final[tuple[tuple[str, float, Callable[[Figures], Difference | None]], ...]] = (
    ("one round over the teacher, target", 15, _over("student", "teacher")),
    ("two rounds over the teacher, target", 30, _over("student-2", "teacher")),
    ("one round over the teacher, base", -1, lambda f: f.difference("student", "teacher", _BASE)),
    ("one round over no captions, target", 10, _over("student", "no-captions")),
    ("one round over base nouns only, target", 10, _over("student", "base-nouns")),
    ("over a caption-grounded teacher, target", 4.5, _over("ovr-student", "ovr")),
    ("one round over the best visual-only rival, target", 5, _over_best_rival),
    ("default assignment over argmax (Eq. 2), target", 5, _over("weighting-none", "argmax")),
    (
        "40 % wrong nouns: default over plain XPM (argmax, no noise estimation), target",
        5,
        _over(_NOISY.format("stochastic"), "argmax-noise-0.4"),
    ),
    (
        "40 % wrong nouns, 300 steps: default with five promotions over plain XPM with one teacher, target",
        5,
        _over("promoted-noise-0.4", "argmax-300-noise-0.4"),
    ),
    ("40 % wrong nouns: best weighting of L_X over none, target", 1.4, _best_weighting),
    (
        "40 % wrong nouns, second round: best weighting over none, target",
        1.4,
        lambda f: _best_of(f, [f"second-{name}-noise-0.4" for name in SECOND_WEIGHTINGS[1:]], "second-none-noise-0.4"),
    ),
    ("two promotions over one teacher, as many steps, target", 10, _over("two-promotions", "one-teacher")),
    (
        "two promotions over one teacher, as many steps, base",
        -1,
        lambda f: f.difference("two-promotions", "one-teacher", _BASE),
    ),
    ("five promotions over two, as many steps, target", -2, _over("promoted", "two-promotions")),
)


def goals_table(figures: Figures) -> str | None:
    """Goals that the results are enough for."""
    rows = []
    for label, bound, measure in _GOALS:
        found = measure(figures)
        if found is not None:
            rows.append([label, f">= {bound:+g}", str(found), "met" if found.mean >= bound else "**not met**"])
    return table(["difference in generalized mask AP50", "goal", "measured", ""], rows) if rows else None
