"""Thresholds that keep a stated run time between false alarms, bootstrapped from the reference.

Windows without drift are drawn from the reference's labels, whole labels at a time, so that the values of one image
stay together and all quantities move as they do in the stream. The reference is redrawn as well: it is a sample too,
and a window differs from it by both samples' noise. One alarm of any statistic is an alarm, so the thresholds are
chosen for all statistics together. docs/drift.md has the assumptions.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import rankdata

from xpm_stream.errors import ConfigError, DataError
from xpm_stream.monitoring.drift_bins import Counts, Floats
from xpm_stream.monitoring.drift_reference import DRIFT_SCHEMA_VERSION, DriftReference, decode_state
from xpm_stream.monitoring.drift_statistics import WatchedStatistic, compute_statistics, watched_statistics
from xpm_stream.monitoring.drift_windows import WindowLimits

_REFERENCE_REDRAWS: Final = 100
_LABELS_AT_ONCE: Final = 2_000_000  # drawn label places held at a time: bounds the memory of a bootstrap
_SIZE_STEP: Final = 2.0  # largest ratio of neighbouring window sizes; between them thresholds are interpolated
_PRIOR: Final = 0.5  # of an observation in an empty bin: what the reference happens not to hold may still occur
_NEVER: Final = 1e-12


class DriftThresholds(msgspec.Struct, frozen=True, kw_only=True):
    """Thresholds of all watched statistics for windows of several sizes."""

    schema_version: int = DRIFT_SCHEMA_VERSION
    bins_id: str  # of the reference they were bootstrapped from
    false_alarm_windows: float  # mean number of windows between false alarms
    replicates: int  # windows drawn for each size
    block_labels: int  # consecutive labels drawn together; 1: labels are independent
    seed: int
    statistics: list[WatchedStatistic]
    window_labels: list[int]  # the sizes, ascending; windows smaller than the first are not judged
    thresholds: list[list[float | None]]  # [size][statistic]; None: the quantity has too few values at this size

    def at(self, num_labels: int) -> list[float | None]:
        """Return the threshold of each statistic for a window of so many labels.

        Between two calibrated sizes it is interpolated, both on logarithms; above the largest that one's is taken.

        Raises:
            ValueError: fewer labels than the smallest size.
        """
        if num_labels < self.window_labels[0]:
            raise ValueError(f"a window of {num_labels} labels: thresholds begin at {self.window_labels[0]}")
        sizes = np.log(self.window_labels)
        found: list[float | None] = []
        for each in zip(*self.thresholds, strict=True):
            known = [value is not None for value in each]
            if not known[-1] or num_labels < self.window_labels[known.index(True)]:
                found.append(None)
                continue
            heights = np.log([max(value, _NEVER) for value in each if value is not None])
            value = math.exp(np.interp(math.log(num_labels), sizes[known], heights))
            found.append(0.0 if value <= 2 * _NEVER else value)
        return found


def false_alarm_windows(*, hours: float, window_seconds: float) -> float:
    """Return how many windows of a length go into the wanted hours between false alarms.

    Raises:
        ConfigError: that is fewer than two.
    """
    windows = hours * 3600 / window_seconds
    if not windows >= 2:
        raise ConfigError(
            f"{hours} hours between false alarms is less than two windows of {window_seconds:g} seconds: "
            "ask for more hours or take shorter windows"
        )
    return windows


def calibrate(
    reference: DriftReference,
    limits: WindowLimits,
    *,
    false_alarm_windows: float,
    replicates_per_alarm: int = 200,
    block_labels: int = 1,
    seed: int = 0,
) -> DriftThresholds:
    """Return thresholds that windows without drift exceed once in `false_alarm_windows` windows on average.

    Args:
        reference: the labels to draw from.
        limits: thresholds are made for windows of `min_labels` to `max_labels`.
        false_alarm_windows: wanted mean number of windows between false alarms (of any statistic), at least 2.
        replicates_per_alarm: windows drawn for each size, as a multiple of `false_alarm_windows`. The achieved rate
            of false alarms has a relative standard error of about 1 / sqrt(replicates_per_alarm).
        block_labels: 1 where labels are independent of one another; else the number of consecutive labels drawn
            together (circular moving blocks), a few times as long as neighbouring labels resemble each other.
        seed: of the drawing.

    Raises:
        ConfigError: a run time, replicates or block that cannot be used.
    """
    if not 2 <= false_alarm_windows < math.inf:
        raise ConfigError(f"{false_alarm_windows} windows between false alarms: at least 2")
    statistics = watched_statistics(reference.layout.bins)
    if replicates_per_alarm < len(statistics):
        raise ConfigError(
            f"replicates_per_alarm is {replicates_per_alarm}: at least {len(statistics)}, the number of statistics"
        )
    if not 1 <= block_labels <= reference.num_labels:
        raise ConfigError(
            f"blocks of {block_labels} labels cannot be drawn from a reference of {reference.num_labels} labels"
        )
    each = math.ceil(false_alarm_windows * replicates_per_alarm / _REFERENCE_REDRAWS)
    sizes = _window_sizes(limits)
    rows = []
    for size in sizes:
        rng = np.random.default_rng((seed, size))  # so that a size has the same thresholds among any others
        values = _statistics_without_drift(reference, size, each=each, block_labels=block_labels, rng=rng)
        rows.append(_joint_thresholds(values, level=1 - 1 / false_alarm_windows))
    return DriftThresholds(
        bins_id=reference.bins_id,
        false_alarm_windows=false_alarm_windows,
        replicates=each * _REFERENCE_REDRAWS,
        block_labels=block_labels,
        seed=seed,
        statistics=statistics,
        window_labels=sizes,
        thresholds=rows,
    )


def draw_windows(
    label_counts: Counts | NDArray[np.float32],
    *,
    window_labels: int,
    windows: int,
    rng: np.random.Generator,
    block_labels: int = 1,
) -> Floats:
    """Return counts of windows whose labels are drawn with replacement, in blocks; shape (windows, columns).

    Args:
        label_counts: counts of each label, in stream order, shape (labels, columns).
        window_labels: labels of each window.
        windows: how many.
        rng: where the draws come from.
        block_labels: consecutive labels drawn together; after the last label comes the first.
    """
    from_counts = label_counts.astype(np.float32, copy=False)  # exact to 2 ** 24: more than a window holds
    drawn = np.empty((windows, label_counts.shape[1]))
    at_once = max(1, _LABELS_AT_ONCE // window_labels)
    for start in range(0, windows, at_once):
        places = _draw_places(
            len(label_counts), min(at_once, windows - start), window_labels, block_labels=block_labels, rng=rng
        )
        ends = np.arange(len(places) + 1) * window_labels
        chosen = csr_array(
            (np.ones(places.size, dtype=np.float32), places.ravel(), ends), shape=(len(places), len(label_counts))
        )
        drawn[start : start + len(places)] = chosen @ from_counts
    return drawn


def decode_thresholds(data: bytes) -> DriftThresholds:
    """Return thresholds from their JSON.

    Raises:
        DataError: these are none, are damaged, or are of a newer schema.
    """
    found = decode_state(data, DriftThresholds, what="set of drift thresholds")
    whole = len(found.thresholds) == len(found.window_labels) > 0
    if not whole or any(len(row) != len(found.statistics) for row in found.thresholds):
        raise DataError("the drift thresholds do not match their sizes and statistics: calibrate again")
    return found


def _draw_places(
    num_labels: int, windows: int, window_labels: int, *, block_labels: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    blocks = -(-window_labels // block_labels)
    starts = rng.integers(num_labels, size=(windows, blocks))
    places: NDArray[np.int64] = (starts[:, :, None] + np.arange(block_labels)) % num_labels
    return places.reshape(windows, -1)[:, :window_labels]


def _window_sizes(limits: WindowLimits) -> list[int]:
    if limits.min_labels == limits.max_labels:
        return [limits.max_labels]
    steps = math.ceil(math.log(limits.max_labels / limits.min_labels, _SIZE_STEP))
    spaced = np.geomspace(limits.min_labels, limits.max_labels, max(steps, 1) + 1)
    return sorted({round(size) for size in spaced.tolist()})


def _statistics_without_drift(
    reference: DriftReference, size: int, *, each: int, block_labels: int, rng: np.random.Generator
) -> Floats:
    """Return the statistics of windows drawn from the reference against redrawn references."""
    label_counts = reference.label_counts.astype(np.float32)  # once, not for every draw
    redrawn = draw_windows(
        label_counts,
        window_labels=reference.num_labels,
        windows=_REFERENCE_REDRAWS,
        block_labels=block_labels,
        rng=rng,
    )
    found = []
    for one in redrawn:
        windows = draw_windows(label_counts, window_labels=size, windows=each, block_labels=block_labels, rng=rng)
        _fill_empty_bins(reference, windows, mean=_PRIOR * size / reference.num_labels, rng=rng)
        found.append(compute_statistics(reference.layout, one, windows))
    return np.concatenate(found)


def _fill_empty_bins(reference: DriftReference, windows: Floats, *, mean: float, rng: np.random.Generator) -> None:
    """Move some of a quantity's values, `mean` in a window, to each of its bins that the reference has nothing in."""
    for bins in reference.layout.bins:
        columns = reference.layout.columns(bins.quantity)
        ours = reference.counts[columns]
        fullest = columns.start + int(ours.argmax())
        for empty in columns.start + np.flatnonzero(ours == 0):
            moved = np.minimum(rng.poisson(mean, size=len(windows)), windows[:, fullest])
            windows[:, empty] += moved
            windows[:, fullest] -= moved


def _joint_thresholds(values: Floats, *, level: float) -> list[float | None]:
    """Return each statistic's threshold such that a new window is below all of them with probability `level`.

    All thresholds are the k-th largest of their statistic, so that each takes the same part in the alarms. A window
    left out of the drawing exceeds the k-th largest of the others just if it is among the k largest itself: counting
    the windows for which any statistic is makes k right for windows not drawn, too.
    """
    # A statistic that a quarter of the windows do not have would be calibrated on the wrong ones.
    usable = np.isfinite(values).mean(axis=0) > 0.75
    if not usable.any():  # windows of fewer labels than a statistic needs values
        return [None] * values.shape[1]
    known = np.where(np.isfinite(values[:, usable]), values[:, usable], -np.inf)
    places = rankdata(-known, method="max", axis=0).min(axis=1)  # 1: the largest of its statistic; ties share the last
    alarms = np.sort(places)  # alarms[i]: the k at which i + 1 windows are above a threshold
    wanted = (1 - level) * len(values)
    k = int(alarms[int(wanted)]) - 1  # the largest k with no more alarms than wanted
    at_k, at_next = np.searchsorted(alarms, (k, k + 1), side="right")
    largest_first = -np.sort(-known, axis=0)
    part = (wanted - at_k) / (at_next - at_k)
    thresholds = iter(((1 - part) * largest_first[k - 1] + part * largest_first[k]).tolist())
    return [next(thresholds) if one else None for one in usable]
