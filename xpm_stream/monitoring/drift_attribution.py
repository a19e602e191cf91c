"""Who changed, when an alarm is raised: the teacher, the data, or both.

Words and nouns per caption are the captions', whoever labels them: their changes are the data's. The other quantities
depend on both. Teacher `t` of the window and teacher `r` of the reference have labelled the same frozen images, the
canary set, so what differs there is the teacher's doing and no image's. docs/drift.md has the rule.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec
import numpy as np
from scipy.stats import permutation_test

from xpm_stream.monitoring.canary_labels import CanaryLabels
from xpm_stream.monitoring.drift_bins import Counts, Floats, QuantileBins
from xpm_stream.monitoring.drift_records import Cause
from xpm_stream.monitoring.drift_reference import DriftReference
from xpm_stream.monitoring.drift_statistics import MIN_VALUES, compute_statistics, wasserstein_distance
from xpm_stream.monitoring.drift_verdicts import DriftVerdict

OF_THE_DATA: Final = frozenset({"word", "nouns_per_caption", "caption_without_nouns"})
_SIGNIFICANCE: Final = 0.01  # of all tests of a verdict together
_RESAMPLES: Final = 999
_RESAMPLES_AT_ONCE: Final = 100  # bounds memory: each holds a row of counts for every image
_MAINLY: Final = 0.5  # share of a shift that the canary must show, for it to be the teacher's alone
_PARTLY: Final = 0.2  # with less, the teacher's part is not what raised the alarm

Distance = Callable[[Any, Any], Floats]  # of counts or shares, over the last axis


class QuantityCause(msgspec.Struct, frozen=True, kw_only=True):
    """Who changed one quantity."""

    quantity: str
    cause: Cause
    p_value: float | None = None  # of no change of the teacher on the canary set; None: not tested
    explained: float | None = None  # share of the stream's shift that the canary set shows, at most 1; may be negative


class Attribution(msgspec.Struct, frozen=True, kw_only=True):
    """Who changed what a verdict complains of."""

    cause: Cause
    quantities: list[QuantityCause]


def attribute(
    verdict: DriftVerdict,
    reference: DriftReference,
    window: Counts,
    *,
    same_teacher: bool,
    canary_reference: CanaryLabels | None,
    canary_window: CanaryLabels | None,
    seed: int = 0,
) -> Attribution | None:
    """Return who changed; none where nothing is above its threshold or missing.

    Args:
        verdict: on the window, against the reference.
        reference: the reference.
        window: the window's counts on the reference's bins, shape (columns,).
        same_teacher: whether one checkpoint labelled both: then it is the data, whatever the canary set is.
        canary_reference: the canary labels of the reference's teacher, if there are any.
        canary_window: those of the teacher that labelled most of the window.
        seed: of the permutations.
    """
    quantities = list(dict.fromkeys([*(one.quantity for one in verdict.above), *verdict.missing]))
    if not quantities:
        return None
    pairs = None if same_teacher else _paired_counts(reference, canary_reference, canary_window)
    tested = max(1, sum(quantity not in OF_THE_DATA for quantity in quantities))
    comparison = None
    if pairs is not None:
        comparison = _Comparison(verdict, reference, window, *pairs, level=_SIGNIFICANCE / tested, seed=seed)
    causes = []
    for quantity in quantities:
        if quantity in OF_THE_DATA or same_teacher:
            causes.append(QuantityCause(quantity=quantity, cause="data"))
        elif comparison is None:
            causes.append(QuantityCause(quantity=quantity, cause="unknown"))
        else:
            causes.append(comparison.cause_of(quantity))
    return Attribution(cause=together([one.cause for one in causes]), quantities=causes)


def together(causes: list[Cause]) -> Cause:
    """Return the cause of several changes: what is known counts, and teacher and data are both."""
    known = {one for one in causes if one != "unknown"}
    if not known:
        return "unknown"
    return next(iter(known)) if len(known) == 1 else "both"


class _Comparison:
    """The stream's changes beside those of the canary set."""

    def __init__(
        self,
        verdict: DriftVerdict,
        reference: DriftReference,
        window: Counts,
        before: Counts,
        after: Counts,
        *,
        level: float,
        seed: int,
    ) -> None:
        self._reference = reference
        self._window = window
        self._before = before
        self._after = after
        self._level = level
        self._seed = seed
        self._expected = self._expected_counts()
        values = compute_statistics(reference.layout, self._expected, window[None])[0].tolist()
        # Quantities for which the alarm would still be raised if the reference's labels were the window's teacher's.
        self._still_above = {
            one.quantity
            for one, value in zip(verdict.statistics, values, strict=True)
            if one.threshold is not None and value > one.threshold
        }

    def cause_of(self, quantity: str) -> QuantityCause:
        """Return who changed a quantity that depends on teacher and data."""
        columns = self._reference.layout.columns(quantity)
        before, after = self._before[:, columns], self._after[:, columns]
        if before.sum() < MIN_VALUES:  # the reference's teacher hardly says anything of the canary images
            return QuantityCause(quantity=quantity, cause="unknown")
        if after.sum() < MIN_VALUES:  # the other one no longer gives the quantity
            return QuantityCause(quantity=quantity, cause="teacher")
        distance = partial(wasserstein_distance, representatives=_positions(self._reference, quantity))
        p_value = _permutation_p_value(distance, before, after, seed=self._seed)
        if self._window[columns].sum() < MIN_VALUES:  # it gives it on the canary images, and not in the stream
            return QuantityCause(quantity=quantity, cause="data", p_value=p_value)
        window = self._window[columns]
        whole = float(distance(self._reference.counts[columns], window))
        explained = 1.0 - float(distance(self._expected[columns], window)) / whole if whole > 0 else 0.0
        cause: Cause = "teacher"
        if p_value > self._level or explained < _PARTLY:
            cause = "data"
        elif explained < _MAINLY and quantity in self._still_above:
            cause = "both"
        return QuantityCause(quantity=quantity, cause=cause, p_value=p_value, explained=explained)

    def _expected_counts(self) -> Floats:
        """Return the reference's counts, moved as the canary set's labels moved from its teacher to the window's."""
        layout = self._reference.layout
        expected = self._reference.counts.astype(np.float64)
        for bins in layout.bins:
            columns = layout.columns(bins.quantity)
            before, after = self._before[:, columns].sum(axis=0), self._after[:, columns].sum(axis=0)
            if bins.quantity not in OF_THE_DATA and before.any() and after.any():
                moved = expected[columns] / expected[columns].sum() + after / after.sum() - before / before.sum()
                expected[columns] = expected[columns].sum() * np.clip(moved, 0.0, None)
        return expected


def _positions(reference: DriftReference, quantity: str) -> list[float]:
    """Return where a quantity's bins are: distances between its distributions are distances its values moved."""
    bins = next(one for one in reference.layout.bins if one.quantity == quantity)
    return bins.representatives if isinstance(bins, QuantileBins) else [0.0, 1.0]


def _paired_counts(
    reference: DriftReference, before: CanaryLabels | None, after: CanaryLabels | None
) -> tuple[Counts, Counts] | None:
    """Return each image's counts by either teacher, shape (images, columns); none if the images are not the same."""
    if before is None or after is None:
        return None
    if before.canary_id != after.canary_id or len(before.images) != len(after.images) or not before.images:
        return None
    return reference.layout.count(before.images), reference.layout.count(after.images)


def _permutation_p_value(distance: Distance, before: Counts, after: Counts, *, seed: int) -> float:
    """Return how likely a change at least this large is if it does not matter which teacher labelled which image.

    Both have labelled the same images, so labels are exchanged within images: what images have in common or not plays
    no part, and small changes of a teacher show in a set of a few hundred images. It holds for these images, which is
    what is asked: whether this teacher labels otherwise than that one.
    """
    stacked = np.concatenate([before, after])
    places = np.arange(len(before))

    def statistic(first: Any, second: Any, axis: int) -> Floats:
        def sums(chosen: Any) -> Floats:
            total: Floats = stacked[np.moveaxis(chosen, axis, -1).astype(np.intp)].sum(axis=-2)
            return total

        return np.asarray(distance(sums(first), sums(second)))

    result = permutation_test(
        (places, places + len(before)),
        statistic,
        permutation_type="samples",
        vectorized=True,
        n_resamples=_RESAMPLES,
        batch=_RESAMPLES_AT_ONCE,
        alternative="greater",
        random_state=np.random.default_rng(seed),
    )
    return float(result.pvalue)
