"""How far a window's counts are from the reference's, quantity by quantity. Formulas: docs/drift.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr

from xpm_stream.monitoring.drift_bins import (
    OTHER_WORDS,
    BinLayout,
    Bins,
    Counts,
    Floats,
    QuantileBins,
    ShareBins,
    WordBins,
)

Statistic = Literal["psi", "jensen_shannon", "wasserstein", "share_change"]

MIN_VALUES: Final = 20  # a quantity with fewer values in a window has no statistic
_SMOOTHING: Final = 0.5  # observations added to every bin before a logarithm is taken


class WatchedStatistic(NamedTuple):
    """One statistic of one quantity."""

    quantity: str
    statistic: Statistic


class WordChange(msgspec.Struct, frozen=True, kw_only=True):
    """What one word adds to the distance between two word distributions."""

    word: str
    reference_share: float  # of all mentions, 0..1
    window_share: float
    contribution: float  # to the Jensen-Shannon divergence, as a share of it, 0..1


def population_stability_index(reference: ArrayLike, window: ArrayLike) -> Floats:
    """Return sum((q - p) ln(q / p)) over the last axis of counts, half an observation added to every bin.

    The smoothing makes empty bins finite and keeps the index symmetric; equal counts give 0.
    """
    p, q = _smoothed(reference), _smoothed(window)
    index: Floats = np.sum((q - p) * np.log(q / p), axis=-1)
    return index


def jensen_shannon_distance(reference: ArrayLike, window: ArrayLike) -> Floats:
    """Return the Jensen-Shannon distance (base 2, 0..1) over the last axis of counts; NaN where there are none."""
    p, q = np.asarray(reference, dtype=np.float64), np.asarray(window, dtype=np.float64)
    with np.errstate(invalid="ignore"):  # 0 / 0 without counts; the root of a rounding error below 0 for equal shares
        distance = jensenshannon(p, q, base=2, axis=-1)
    defined = (p.sum(axis=-1) > 0) & (q.sum(axis=-1) > 0)
    return np.where(defined, np.nan_to_num(distance), np.nan)


def wasserstein_distance(reference: ArrayLike, window: ArrayLike, *, representatives: ArrayLike) -> Floats:
    """Return the 1-Wasserstein distance over the last axis of counts at ascending positions; NaN where there are none.

    It is what `scipy.stats.wasserstein_distance` gives for positions weighted by counts, for many windows at once.
    """
    steps = np.diff(np.asarray(representatives, dtype=np.float64))
    gaps = np.cumsum(_shares(window) - _shares(reference), axis=-1)[..., :-1]
    distance: Floats = np.abs(gaps) @ steps
    return distance


def share_change(reference: ArrayLike, window: ArrayLike) -> Floats:
    """Return the absolute difference of the last bin's share; NaN where there are no counts."""
    change: Floats = np.abs(_shares(window) - _shares(reference))[..., -1]
    return change


def watched_statistics(bins: Sequence[Bins]) -> list[WatchedStatistic]:
    """Return the statistics that these bins allow, in the order `compute_statistics` gives them."""
    return [WatchedStatistic(one.quantity, statistic) for one in bins for statistic in _statistics_of(one)]


def compute_statistics(layout: BinLayout, reference: Counts | Floats, windows: Counts | Floats) -> Floats:
    """Return the watched statistics of each window, shape (windows, statistics).

    Args:
        layout: the reference's bins.
        reference: its counts, shape (columns,).
        windows: counts of windows on the same bins, shape (windows, columns).

    Returns:
        NaN where a quantity has fewer than 20 values in a window.
    """
    columns = []
    for one in layout.bins:
        ours, theirs = reference[layout.columns(one.quantity)], windows[:, layout.columns(one.quantity)]
        enough = theirs.sum(axis=-1) >= MIN_VALUES
        for statistic in _statistics_of(one):
            columns.append(np.where(enough, _compute(one, statistic, ours, theirs), np.nan))
    return np.stack(columns, axis=-1)


def changed_words(bins: WordBins, reference: Counts, window: Counts, *, most: int = 10) -> list[WordChange]:
    """Return the words that add most to the Jensen-Shannon divergence, most first; none if nothing changed."""
    if not (reference.sum() and window.sum()):
        return []
    p, q = _shares(reference), _shares(window)
    middle = (p + q) / 2
    parts = rel_entr(p, middle) + rel_entr(q, middle)
    total = parts.sum()
    names = [*bins.words, OTHER_WORDS]
    return [
        WordChange(
            word=names[place],
            reference_share=float(p[place]),
            window_share=float(q[place]),
            contribution=float(parts[place] / total),
        )
        for place in np.argsort(-parts, kind="stable")[:most]
        if p[place] != q[place] and parts[place] > 0
    ]


def mean_level(bins: Bins, counts: Counts) -> float | None:
    """Return the share below the level, or the mean of a number as its bins tell it; None for words or no counts."""
    total = counts.sum()
    if isinstance(bins, WordBins) or not total:
        return None
    if isinstance(bins, ShareBins):
        return float(counts[-1] / total)
    return float(counts @ np.array(bins.representatives) / total)


def _statistics_of(bins: Bins) -> tuple[Statistic, ...]:
    if isinstance(bins, QuantileBins):
        # Of a number that never varied it is unknown what far is.
        return ("psi", "jensen_shannon", "wasserstein") if bins.scale else ("psi", "jensen_shannon")
    if isinstance(bins, ShareBins):
        return ("share_change",)
    return ("jensen_shannon",)


def _compute(bins: Bins, statistic: Statistic, reference: Counts | Floats, windows: Counts | Floats) -> Floats:
    if statistic == "psi":
        return population_stability_index(reference, windows)
    if statistic == "jensen_shannon":
        return jensen_shannon_distance(reference, windows)
    if statistic == "share_change":
        return share_change(reference, windows)
    assert isinstance(bins, QuantileBins)
    return wasserstein_distance(reference, windows, representatives=bins.representatives) / bins.scale


def _smoothed(counts: ArrayLike) -> Floats:
    added = np.asarray(counts, dtype=np.float64) + _SMOOTHING
    shares: Floats = added / added.sum(axis=-1, keepdims=True)
    return shares


def _shares(counts: ArrayLike) -> Floats:
    values = np.asarray(counts, dtype=np.float64)
    totals = values.sum(axis=-1, keepdims=True)
    shares: Floats = np.divide(values, totals, out=np.full_like(values, np.nan), where=totals > 0)
    return shares
