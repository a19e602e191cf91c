"""Does a reliability score tell right labels from wrong ones? Rank statistics in NumPy and SciPy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from xpm_stream.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationBin:
    """Labels of similar reliability: what the score promised and what was true."""

    low: float  # smallest reliability in the bin
    high: float  # largest
    mean_reliability: float
    share_right: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityQuality:
    """How well reliability predicts that a label is right."""

    auc: float | None  # chance that a right label scores above a wrong one, ties half; None without both kinds
    average_precision: float | None  # of right labels, ranked by reliability; None without a right one
    calibration_error: float | None  # mean |mean_reliability - share_right| over labels; None without labels
    calibration: Sequence[CalibrationBin]
    count: int
    share_right: float | None


def judge_reliability(
    reliability: Sequence[float] | npt.NDArray[np.floating],
    right: Sequence[bool] | npt.NDArray[np.bool_],
    *,
    bins: int = 10,
) -> ReliabilityQuality:
    """Summarise (reliability, right) pairs.

    Raises:
        DataError: the two differ in length, or a reliability is not finite.
    """
    scores, truth = _checked(reliability, right)
    curve = calibration_curve(scores, truth, bins=bins)
    error = sum(abs(item.mean_reliability - item.share_right) * item.count for item in curve)
    return ReliabilityQuality(
        auc=roc_auc(scores, truth),
        average_precision=average_precision(scores, truth),
        calibration_error=error / len(scores) if len(scores) else None,
        calibration=curve,
        count=len(scores),
        share_right=float(truth.mean()) if len(truth) else None,
    )


def roc_auc(
    scores: Sequence[float] | npt.NDArray[np.floating], right: Sequence[bool] | npt.NDArray[np.bool_]
) -> float | None:
    """Return the area under the ROC curve (Mann-Whitney U over all pairs, ties count half); None without both kinds.

    Raises:
        DataError: the two differ in length, or a score is not finite.
    """
    values, truth = _checked(scores, right)
    num_right = int(truth.sum())
    num_wrong = len(truth) - num_right
    if not num_right or not num_wrong:
        return None
    rank_sum = float(rankdata(values)[truth].sum())
    return (rank_sum - num_right * (num_right + 1) / 2) / (num_right * num_wrong)


def average_precision(
    scores: Sequence[float] | npt.NDArray[np.floating], right: Sequence[bool] | npt.NDArray[np.bool_]
) -> float | None:
    """Return sum over thresholds of (recall gained) x (precision), equal scores taken together; None without a right.

    Raises:
        DataError: the two differ in length, or a score is not finite.
    """
    values, truth = _checked(scores, right)
    if not truth.any():
        return None
    order = np.argsort(-values, kind="stable")
    hits = np.cumsum(truth[order])
    ends = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)  # last place of each distinct score
    precision, gained = hits[ends] / (ends + 1), np.diff(hits[ends], prepend=0) / hits[-1]
    return float(precision @ gained)


def calibration_curve(
    scores: Sequence[float] | npt.NDArray[np.floating],
    right: Sequence[bool] | npt.NDArray[np.bool_],
    *,
    bins: int = 10,
) -> list[CalibrationBin]:
    """Cut labels, sorted by score, into `bins` groups of equal size (fewer where there are fewer labels).

    Raises:
        DataError: the two differ in length, or a score is not finite.
    """
    values, truth = _checked(scores, right)
    order = np.argsort(values, kind="stable")
    groups = [group for group in np.array_split(order, bins) if len(group)]
    return [
        CalibrationBin(
            low=float(values[group[0]]),
            high=float(values[group[-1]]),
            mean_reliability=float(values[group].mean()),
            share_right=float(truth[group].mean()),
            count=len(group),
        )
        for group in groups
    ]


def _checked(
    scores: Sequence[float] | npt.NDArray[np.floating], right: Sequence[bool] | npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=np.bool_)
    if values.shape != truth.shape or values.ndim != 1:
        raise DataError(f"{values.shape} scores and {truth.shape} outcomes do not pair up")
    if not np.isfinite(values).all():
        raise DataError("a reliability is not finite")
    return values, truth
