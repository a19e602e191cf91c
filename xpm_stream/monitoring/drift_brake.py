"""When drift holds promotions back, and when it lets them go on.

What a new teacher changes does not brake: labels are meant to change with a better teacher, the frozen reference would
hold every later promotion back, and whether a candidate is better is the promotion gates' matter, which judge it on
images that do not change. A student that learned from other data than it should is what no gate sees; so shifts of the
data brake, and those of unknown cause, and a quantity that is not there any more, whoever made it vanish.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from xpm_stream.monitoring.drift_attribution import Attribution
from xpm_stream.monitoring.drift_verdicts import DriftVerdict

_MOST_REASONS: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One window against one reference, and who changed."""

    verdict: DriftVerdict
    attribution: Attribution | None  # none: no alarm


@dataclass(slots=True, kw_only=True)
class Brake:
    """On from the first window that calls for it, until so many in a row have not."""

    release_windows: int
    on: bool = False
    since_s: float | None = None
    reasons: list[str] = field(default_factory=list)
    quiet_windows: int = 0

    def take(self, judged: Sequence[Judged], *, now_s: float) -> None:
        """Take a closed window. One that no reference judged (too few labels, none ready) changes nothing."""
        if all(one.verdict.status == "too_few" for one in judged):
            return
        reasons = braking_reasons(judged)
        if reasons:
            self.since_s = self.since_s if self.on else now_s
            self.on, self.reasons, self.quiet_windows = True, reasons, 0
            return
        self.quiet_windows += 1
        if self.quiet_windows >= self.release_windows:
            self.release()

    def release(self) -> None:
        """Let promotions go on."""
        self.on, self.since_s, self.reasons = False, None, []


def braking_reasons(judged: Sequence[Judged]) -> list[str]:
    """Return why a window calls for the brake, for people; nothing if it does not."""
    found: list[tuple[float, str]] = []
    for one in judged:
        verdict = one.verdict
        found += [
            (float("inf"), _of(verdict, f"{quantity} is missing: too few values in the window"))
            for quantity in verdict.missing
        ]
        causes = {} if one.attribution is None else {each.quantity: each.cause for each in one.attribution.quantities}
        for above in verdict.above:
            cause = causes.get(above.quantity, "unknown")
            if cause == "teacher" or above.value is None or above.threshold is None:
                continue
            said = f"{above.quantity} {above.statistic} {above.value:.3g} is above {above.threshold:.3g} ({cause})"
            found.append((above.value / above.threshold if above.threshold else float("inf"), _of(verdict, said)))
    found.sort(key=lambda item: -item[0])
    return [said for _, said in found[:_MOST_REASONS]]


def _of(verdict: DriftVerdict, said: str) -> str:
    return f"{verdict.reference}: {said}"
