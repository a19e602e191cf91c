from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from xpm_stream.monitoring.drift_bins import OTHER_WORDS, BinLayout, QuantileBins, ShareBins, WordBins
from xpm_stream.monitoring.drift_statistics import (
    MIN_VALUES,
    changed_words,
    compute_statistics,
    jensen_shannon_distance,
    mean_level,
    population_stability_index,
    share_change,
    wasserstein_distance,
    watched_statistics,
)

counts = st.lists(st.integers(0, 200), min_size=2, max_size=12).filter(any)
laws = settings(max_examples=60, deadline=None)


@st.composite
def pairs(draw):
    one = draw(counts)
    other = draw(st.lists(st.integers(0, 200), min_size=len(one), max_size=len(one)).filter(any))
    return one, other


@laws
@given(counts)
def test_equal_counts_are_at_no_distance(one):
    positions = np.arange(len(one)) / 7
    assert population_stability_index(one, one) == 0
    assert jensen_shannon_distance(one, one) == pytest.approx(0, abs=1e-7)
    assert wasserstein_distance(one, one, representatives=positions) == 0
    assert share_change(one, one) == 0


@laws
@given(pairs())
def test_distances_are_symmetric_and_not_negative(pair):
    one, other = pair
    positions = np.arange(len(one)) / 7
    assert population_stability_index(one, other) == pytest.approx(population_stability_index(other, one))
    assert jensen_shannon_distance(one, other) == pytest.approx(jensen_shannon_distance(other, one), abs=1e-7)
    there = wasserstein_distance(one, other, representatives=positions)
    assert there == pytest.approx(wasserstein_distance(other, one, representatives=positions))
    assert population_stability_index(one, other) >= 0
    assert 0 <= jensen_shannon_distance(one, other) <= 1 + 1e-12
    assert there >= 0


@laws
@given(pairs(), st.randoms(use_true_random=False))
def test_the_order_of_bins_matters_only_where_they_have_positions(pair, random):
    one, other = pair
    order = list(range(len(one)))
    random.shuffle(order)
    mixed, mixed_other = ([values[place] for place in order] for values in pair)
    assert population_stability_index(mixed, mixed_other) == pytest.approx(population_stability_index(one, other))
    mixed_distance = jensen_shannon_distance(mixed, mixed_other)
    assert mixed_distance == pytest.approx(jensen_shannon_distance(one, other), abs=1e-7)


@laws
@given(pairs(), st.integers(0, 10**6))
def test_wasserstein_is_scipys_and_many_windows_at_once_are_each_alone(pair, seed):
    one, other = pair
    positions = np.sort(np.random.default_rng(seed).normal(size=len(one)))
    expected = scipy.stats.wasserstein_distance(positions, positions, one, other)
    together = wasserstein_distance(one, np.array([other, one]), representatives=positions)
    assert together == pytest.approx([expected, 0])
    both = np.array([other, one])
    assert population_stability_index(one, both)[0] == pytest.approx(population_stability_index(one, other))
    assert jensen_shannon_distance(one, both)[0] == pytest.approx(jensen_shannon_distance(one, other), abs=1e-7)


def test_known_values():
    assert jensen_shannon_distance([10, 0], [0, 10]) == pytest.approx(1)
    smoothed = (10.5 / 11 - 0.5 / 11) * np.log(10.5 / 0.5) * 2
    assert population_stability_index([10, 0], [0, 10]) == pytest.approx(smoothed)
    assert wasserstein_distance([10, 0], [5, 5], representatives=[0.0, 4.0]) == pytest.approx(2.0)
    assert share_change([30, 10], [10, 10]) == pytest.approx(0.25)


@laws
@given(pairs())
def test_smoothing_keeps_empty_bins_finite_and_vanishes_with_more_observations(pair):
    one, other = (np.array(values) for values in pair)
    assert np.isfinite(population_stability_index(one, other))
    assume(min(one.min(), other.min()) > 0)
    p, q = one / one.sum(), other / other.sum()
    exact = np.sum((q - p) * np.log(q / p))
    assert population_stability_index(one * 10**6, other * 10**6) == pytest.approx(exact, rel=1e-3, abs=1e-4)


LAYOUT = BinLayout(
    [
        QuantileBins(quantity="score", edges=[0.5], representatives=[0.25, 0.75], scale=0.25),
        QuantileBins(quantity="nouns_per_caption", edges=[0.9, 1.1], representatives=[0.9, 1.0, 1.1], scale=0.0),
        ShareBins(quantity="empty_label", measure="instances_per_label", below=0.5),
        WordBins(words=["cat"]),
    ]
)


def test_each_kind_of_bins_has_its_statistics_and_too_few_values_have_none():
    names = [tuple(one) for one in watched_statistics(LAYOUT.bins)]
    assert names == [
        ("score", "psi"),
        ("score", "jensen_shannon"),
        ("score", "wasserstein"),
        ("nouns_per_caption", "psi"),
        ("nouns_per_caption", "jensen_shannon"),
        ("empty_label", "share_change"),
        ("word", "jensen_shannon"),
    ]
    reference = np.array([50, 50, 0, 100, 0, 90, 10, 30, 70])
    window = np.array([[0, 40, 0, 30, 0, 10, MIN_VALUES - 11, 30, 70]])
    values = compute_statistics(LAYOUT, reference, window)
    assert values.shape == (1, len(names))
    assert values[0, 2] == pytest.approx(1.0)  # half the values moved by 0.5, twice the standard deviation
    assert np.isnan(values[0, 5])
    assert np.isfinite(np.delete(values[0], 5)).all()


def test_the_words_that_changed_most_are_named_with_their_part_of_the_divergence():
    bins = WordBins(words=["cat", "dog", "cow"])
    found = changed_words(bins, np.array([50, 30, 10, 10]), np.array([0, 30, 10, 60]))
    assert [one.word for one in found] == ["cat", OTHER_WORDS]
    assert sum(one.contribution for one in found) == pytest.approx(1)
    assert (found[0].reference_share, found[0].window_share) == (0.5, 0.0)
    assert changed_words(bins, np.array([5, 3, 1, 1]), np.array([10, 6, 2, 2])) == []
    assert changed_words(bins, np.array([5, 3, 1, 1]), np.zeros(4, dtype=np.int64)) == []
    assert len(changed_words(bins, np.array([5, 3, 1, 1]), np.array([1, 1, 3, 5]), most=2)) == 2


def test_levels_say_which_way_a_quantity_went():
    score, _, empty, words = LAYOUT.bins
    assert mean_level(score, np.array([1, 3])) == pytest.approx(0.625)
    assert mean_level(empty, np.array([3, 1])) == pytest.approx(0.25)
    assert mean_level(words, np.array([3, 1])) is None
    assert mean_level(score, np.array([0, 0])) is None
