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
_PARTLY: Final = 0.2  # share of a shift that the canary must show, for the teacher to have a part in it
_BOOTSTRAPS: Final = 200  # canary sets drawn from the canary set
_CERTAIN: Final = 0.95  # share of them that are not further off than what is allowed for

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
    causes = _settled(causes, level=_SIGNIFICANCE / tested)
    return Attribution(cause=together([one.cause for one in causes]), quantities=causes)


def together(causes: list[Cause]) -> Cause:
    """Return the cause of several changes: what is known counts, and teacher and data are both."""
    known = {one for one in causes if one != "unknown"}
    if not known:
        return "unknown"
    return next(iter(known)) if len(known) == 1 else "both"


def _settled(causes: list[QuantityCause], *, level: float) -> list[QuantityCause]:
    """Return the causes with those in doubt on the side of the others.

    In doubt: the canary set shows no change for sure, and too little is left to blame the data. Alone that is the
    teacher's, which is known to have changed; beside quantities that the data changed for sure, it is the data's.
    """
    in_doubt = [one.cause == "teacher" and one.p_value is not None and one.p_value > level for one in causes]
    sure = {one.cause for one, doubt in zip(causes, in_doubt, strict=True) if not doubt}
    if "data" not in sure or sure & {"teacher", "both"}:
        return causes
    return [
        msgspec.structs.replace(one, cause="data") if doubt else one
        for one, doubt in zip(causes, in_doubt, strict=True)
    ]


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
        self._expected = self._moved_by(before.sum(axis=0), after.sum(axis=0))
        self._left = self._alarms_left(verdict)

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
        if quantity in self._left:
            cause = "both" if p_value <= self._level and explained >= _PARTLY else "data"
        return QuantityCause(quantity=quantity, cause=cause, p_value=p_value, explained=explained)

    def _moved_by(self, before: Counts, after: Counts) -> Floats:
        """Return the reference's counts, moved as canary labels moved from its teacher to the window's."""
        layout = self._reference.layout
        expected = self._reference.counts.astype(np.float64)
        for bins in layout.bins:
            columns = layout.columns(bins.quantity)
            then, now = before[columns], after[columns]
            if bins.quantity not in OF_THE_DATA and then.any() and now.any():
                moved = expected[columns] / expected[columns].sum() + now / now.sum() - then / then.sum()
                expected[columns] = expected[columns].sum() * np.clip(moved, 0.0, None)
        return expected

    def _alarms_left(self, verdict: DriftVerdict) -> set[str]:
        """Return the quantities that would still alarm if the reference's labels were the window's teacher's.

        How those would look is known from the canary set only, which is smaller than most windows. How far off that may
        be is seen by drawing the set anew, whole images at a time; so much more than the threshold must be left. (Sums
        of distances bound distances; PSI is none, and has no say here.)
        """
        rng = np.random.default_rng(self._seed)
        layout, images = self._reference.layout, len(self._before)
        drawn = [rng.integers(images, size=images) for _ in range(_BOOTSTRAPS)]
        moved = [self._moved_by(self._before[one].sum(axis=0), self._after[one].sum(axis=0)) for one in drawn]
        off = np.quantile(compute_statistics(layout, self._expected, np.stack(moved)), _CERTAIN, axis=0)
        values = compute_statistics(layout, self._expected, self._window[None])[0]
        return {
            one.quantity
            for one, value, error in zip(verdict.statistics, values.tolist(), off.tolist(), strict=True)
            if one.statistic != "psi" and one.threshold is not None and value > one.threshold + error
        }


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
