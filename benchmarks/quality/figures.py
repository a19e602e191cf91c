"""Results of several seeds as figures: mean and range, and paired differences with a confidence interval."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from scipy import stats

from benchmarks.quality.results import TrialResult

Value = Callable[[TrialResult], float | None]


def mask_ap50(split: str, *, setting: str = "generalized") -> Value:
    """Mask AP50 of a split, percent."""
    return lambda result: getattr(result.final.scores, setting)[split].mask_ap50


def box_ap50(split: str, *, setting: str = "generalized") -> Value:
    """Box AP50 of a split, percent."""
    return lambda result: getattr(result.final.scores, setting)[split].box_ap50


@dataclass(frozen=True, slots=True)
class Difference:
    """How far one arm is above another, seed by seed."""

    values: list[float]

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return statistics.fmean(self.values)

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % confidence interval of the mean (Student's t over seeds); none with one seed."""
        if len(self.values) < 2:
            return None
        found = stats.ttest_1samp(self.values, 0.0).confidence_interval(0.95)
        return float(found.low), float(found.high)

    def __str__(self) -> str:
        interval = self.interval
        spread = "" if interval is None else f" (95 % CI {interval[0]:+.1f} to {interval[1]:+.1f})"
        return f"{self.mean:+.1f}{spread}"


class Figures:
    """All results of a bench, by arm."""

    def __init__(self, results: Iterable[TrialResult]) -> None:
        self._by_arm: dict[str, dict[int, TrialResult]] = {}
        for result in results:
            self._by_arm.setdefault(result.arm, {})[result.seed] = result

    def __contains__(self, arm: str) -> bool:
        return arm in self._by_arm

    def of(self, arm: str) -> list[TrialResult]:
        """The results of an arm, by seed."""
        return [result for _, result in sorted(self._by_arm[arm].items())]

    def values(self, arm: str, value: Value) -> list[float]:
        """The figure of every seed that has one."""
        return [found for result in self.of(arm) if (found := value(result)) is not None]

    def cell(self, arm: str, value: Value) -> str:
        """Mean, and the lowest and highest seed."""
        return spread(self.values(arm, value)) if arm in self else "-"

    def difference(self, arm: str, other: str, value: Value) -> Difference | None:
        """`arm` minus `other` over the seeds both have; none without."""
        if arm not in self or other not in self:
            return None
        pairs = [
            (value(self._by_arm[arm][seed]), value(self._by_arm[other][seed]))
            for seed in sorted(self._by_arm[arm].keys() & self._by_arm[other].keys())
        ]
        found = [one - two for one, two in pairs if one is not None and two is not None]
        return Difference(found) if found else None


def spread(values: list[float]) -> str:
    """Mean, and with several values the lowest and highest."""
    if not values:
        return "-"
    mean = f"{statistics.fmean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.0f} to {max(values):.0f})"
