"""Thresholds keep the stated run time between false alarms.

How often the first test repeats: one window in ARL0 = 50 alarms. W windows hold W / 50 alarms, counted with a relative
standard error of sqrt(50 / W); R replicates place thresholds with one of sqrt(50 / R). Four references, each with
20,000 of both, give 2.5 % and 2.5 %. A reference is itself a sample: with 20,000 labels against windows of 200, run
times of single references spread by about 11 %, the mean of four by 5.5 %. Together 6.5 %, so that 20 % is three
standard errors.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.drift_delay import run_lengths
from benchmarks.drift_labels import LabelModel
from xpm_stream.errors import ConfigError, DataError
from xpm_stream.monitoring.drift_reference import build_reference, decode_reference, encode_reference
from xpm_stream.monitoring.drift_statistics import compute_statistics
from xpm_stream.monitoring.drift_thresholds import (
    calibrate,
    decode_thresholds,
    draw_windows,
    false_alarm_windows,
)
from xpm_stream.monitoring.drift_windows import WindowLimits

RUN_TIME = 50


@pytest.fixture(scope="module")
def fresh():
    """Labels that no reference has seen."""
    return LabelModel().draw(60_000, np.random.default_rng(2))


def drawn_reference(seed, *, labels=20_000, model=LabelModel(), **asked):  # noqa: B008
    return build_reference(model.draw(labels, np.random.default_rng(seed)), name="frozen", teacher="v1", **asked)


@pytest.fixture(scope="module")
def small():
    return drawn_reference(3, labels=600, top_words=10)


def limits(*, smallest, largest):
    return WindowLimits(min_labels=smallest, max_labels=largest, max_seconds=60.0)


def alarms_of(reference, thresholds, counts, *, size):
    """Whether each statistic of each window is above its threshold."""
    values = compute_statistics(reference.layout, reference.counts, counts)
    return values > np.array([np.inf if one is None else one for one in thresholds.at(size)])


def test_fresh_windows_raise_false_alarms_as_seldom_as_stated(fresh):
    lengths, rates = [], []
    for seed in range(4):
        reference = drawn_reference(10 + seed)
        thresholds = calibrate(
            reference,
            limits(smallest=200, largest=200),
            false_alarm_windows=RUN_TIME,
            replicates_per_alarm=400,
            seed=seed,
        )
        windows = draw_windows(
            reference.layout.count(fresh), window_labels=200, windows=20_000, rng=np.random.default_rng(seed)
        )
        alarms = alarms_of(reference, thresholds, windows, size=200)
        lengths += run_lengths(alarms.any(axis=1)).tolist()
        rates.append(alarms.mean(axis=0))
    assert np.mean(lengths) == pytest.approx(RUN_TIME, rel=0.2)
    # Each statistic takes the same part in the alarms.
    rate = np.mean(rates, axis=0)
    assert rate.max() < 2.5 * rate.min()


def test_a_window_between_two_calibrated_sizes_keeps_the_run_time_too(fresh):
    reference = drawn_reference(1)
    thresholds = calibrate(
        reference, limits(smallest=50, largest=100), false_alarm_windows=RUN_TIME, replicates_per_alarm=400
    )
    assert thresholds.window_labels == [50, 100]
    windows = draw_windows(
        reference.layout.count(fresh), window_labels=70, windows=20_000, rng=np.random.default_rng(5)
    )
    alarms = alarms_of(reference, thresholds, windows, size=70).any(axis=1)
    assert run_lengths(alarms).mean() == pytest.approx(RUN_TIME, rel=0.25)


def test_labels_that_resemble_their_neighbours_need_blocks():
    model = LabelModel(run_length=20)
    reference = drawn_reference(6, model=model)
    stream = reference.layout.count(model.draw(200_000, np.random.default_rng(7)))
    windows = stream.reshape(-1, 200, stream.shape[1]).sum(axis=1)  # consecutive labels
    found = {}
    for block_labels in (1, 100):
        thresholds = calibrate(
            reference,
            limits(smallest=200, largest=200),
            false_alarm_windows=20,
            replicates_per_alarm=400,
            block_labels=block_labels,
        )
        found[block_labels] = run_lengths(alarms_of(reference, thresholds, windows, size=200).any(axis=1)).mean()
    # 1,000 windows hold 50 alarms at the stated rate: a standard error of 14 %, and the reference's own beside it.
    assert found[1] < 0.5 * 20
    assert found[100] == pytest.approx(20, rel=0.45)


def test_a_small_references_own_noise_is_allowed_for(fresh):
    """With references of only ten windows, alarms still come as stated, on average over references."""
    rates = []
    for seed in range(12):
        reference = drawn_reference(100 + seed, labels=1000, top_words=10)
        thresholds = calibrate(
            reference, limits(smallest=100, largest=100), false_alarm_windows=20, replicates_per_alarm=100, seed=seed
        )
        counts = reference.layout.count(fresh[:10_000])
        windows = draw_windows(counts, window_labels=100, windows=1500, rng=np.random.default_rng(seed))
        rates.append(alarms_of(reference, thresholds, windows, size=100).any(axis=1).mean())
    assert np.mean(rates) * 20 == pytest.approx(1, abs=0.3)


def test_what_the_reference_never_shows_may_occur_once_without_an_alarm_but_not_often():
    model = LabelModel(empty_share=0.0, captions_without_nouns=0.0)
    reference = drawn_reference(9, labels=2000, model=model, top_words=10)
    thresholds = calibrate(
        reference, limits(smallest=200, largest=200), false_alarm_windows=20, replicates_per_alarm=100
    )
    by_name = dict(zip(thresholds.statistics, thresholds.at(200), strict=True))
    assert 1 / 200 <= by_name["empty_label", "share_change"] < 5 / 200


def test_larger_windows_have_lower_thresholds_and_longer_run_times_higher_ones(small):
    often = calibrate(small, limits(smallest=50, largest=200), false_alarm_windows=10, replicates_per_alarm=100)
    seldom = calibrate(small, limits(smallest=50, largest=200), false_alarm_windows=100, replicates_per_alarm=20)
    assert often.window_labels == [50, 100, 200]
    rows = np.array([often.at(size) for size in (50, 70, 100, 150, 200, 900)], dtype=float)
    assert (np.diff(rows, axis=0) <= 1e-12).all()
    assert rows[-1].tolist() == pytest.approx(rows[-2].tolist())  # no lower than the largest size's
    assert (np.array(seldom.at(100)) > np.array(often.at(100))).all()
    with pytest.raises(ValueError, match="begin at 50"):
        often.at(49)


def test_thresholds_are_the_same_after_a_restart_from_json(small):
    asked = {"false_alarm_windows": 10, "replicates_per_alarm": 20, "block_labels": 5, "seed": 3}
    thresholds = calibrate(small, limits(smallest=50, largest=80), **asked)
    again = calibrate(decode_reference(encode_reference(small)), limits(smallest=50, largest=80), **asked)
    assert again == thresholds
    assert decode_thresholds(msgspec.json.encode(thresholds)) == thresholds
    assert thresholds.bins_id == small.bins_id
    with pytest.raises(DataError, match="calibrate again"):
        decode_thresholds(msgspec.json.encode(msgspec.structs.replace(thresholds, window_labels=[50])))


def test_a_quantity_with_too_few_values_in_small_windows_is_not_judged_there(small):
    thresholds = calibrate(small, limits(smallest=10, largest=40), false_alarm_windows=10, replicates_per_alarm=20)
    place = [one.quantity for one in thresholds.statistics].index("empty_label")
    assert [thresholds.at(size)[place] is None for size in (10, 19, 20, 40)] == [True, True, False, False]


def test_drawn_blocks_are_consecutive_labels_and_every_label_is_as_likely():
    places = np.eye(10, dtype=np.int64)
    drawn = draw_windows(places, window_labels=4, windows=300, rng=np.random.default_rng(0), block_labels=4)
    assert (drawn.sum(axis=1) == 4).all()
    starts = (drawn - np.roll(drawn, 1, axis=1) == 1).sum(axis=1)
    assert (starts == 1).all()
    mean = draw_windows(places, window_labels=3, windows=20_000, rng=np.random.default_rng(0), block_labels=2).mean(0)
    assert mean == pytest.approx([0.3] * 10, abs=0.02)


def test_hours_become_windows():
    assert false_alarm_windows(hours=24, window_seconds=600) == 144
    with pytest.raises(ConfigError, match="less than two windows"):
        false_alarm_windows(hours=1, window_seconds=3600)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"false_alarm_windows": 1.5}, "at least 2"),
        ({"false_alarm_windows": float("nan")}, "at least 2"),
        ({"replicates_per_alarm": 15}, "at least 16"),
        ({"block_labels": 601}, "reference of 600 labels"),
    ],
)
def test_what_cannot_be_calibrated_is_an_error(small, asked, message):
    with pytest.raises(ConfigError, match=message):
        calibrate(small, limits(smallest=50, largest=50), **{"false_alarm_windows": 10, **asked})
