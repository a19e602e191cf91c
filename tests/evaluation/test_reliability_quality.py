from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpm_stream.errors import DataError
from xpm_stream.evaluation.reliability import average_precision, calibration_curve, judge_reliability, roc_auc

PAIRS = st.lists(st.tuples(st.integers(0, 6).map(lambda n: n / 6), st.booleans()), min_size=1, max_size=40)


@given(PAIRS)
def test_auc_is_the_share_of_right_wrong_pairs_in_order(pairs):
    scores, right = zip(*pairs, strict=True)
    good = [score for score, truth in pairs if truth]
    bad = [score for score, truth in pairs if not truth]
    wins = [1.0 if g > b else 0.5 if g == b else 0.0 for g in good for b in bad]
    assert roc_auc(scores, right) == (pytest.approx(np.mean(wins)) if wins else None)


@given(PAIRS)
def test_average_precision_is_the_area_under_its_steps(pairs):
    scores, right = (np.array(column) for column in zip(*pairs, strict=True))
    if not right.any():
        assert average_precision(scores, right) is None
        return
    total, recall_before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        chosen = scores >= threshold
        recall = (chosen & right).sum() / right.sum()
        total += (recall - recall_before) * (chosen & right).sum() / chosen.sum()
        recall_before = recall
    assert average_precision(scores, right) == pytest.approx(total)


def test_a_hand_worked_case():
    scores, right = [0.9, 0.8, 0.7, 0.6], [True, False, True, False]
    quality = judge_reliability(scores, right, bins=2)
    assert quality.auc == pytest.approx(3 / 4)
    assert quality.average_precision == pytest.approx((1 + 2 / 3) / 2)
    low, high = quality.calibration
    assert (low.low, low.high, low.mean_reliability, low.share_right, low.count) == (
        0.6,
        0.7,
        pytest.approx(0.65),
        0.5,
        2,
    )
    assert high.mean_reliability == pytest.approx(0.85)
    assert quality.calibration_error == pytest.approx((0.15 * 2 + 0.35 * 2) / 4)


def test_a_score_that_means_what_it_says_has_little_calibration_error():
    rng = np.random.default_rng(0)
    scores = rng.random(20_000)
    assert judge_reliability(scores, rng.random(20_000) < scores).calibration_error < 0.02


def test_nothing_to_judge_is_none_and_not_zero():
    quality = judge_reliability([], [])
    assert (quality.auc, quality.average_precision, quality.calibration_error, quality.share_right) == (None,) * 4
    assert calibration_curve([0.5], [True], bins=10)[0].count == 1


def test_scores_that_do_not_pair_up_or_are_not_finite_are_refused():
    with pytest.raises(DataError, match="do not pair up"):
        roc_auc([0.1], [True, False])
    with pytest.raises(DataError, match="not finite"):
        roc_auc([float("nan"), 0.2], [True, False])
