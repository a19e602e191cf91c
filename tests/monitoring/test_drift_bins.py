from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpm_stream.errors import DataError
from xpm_stream.monitoring.drift_bins import BinLayout, ShareBins, make_quantile_bins, make_word_bins
from xpm_stream.monitoring.drift_measures import LabelMeasures

numbers = st.floats(-1e6, 1e6, width=32)


def label(**given_values):
    return LabelMeasures(**{"scores": [], **given_values})


def counts_of(bins, values):
    return BinLayout([bins]).count([label(scores=values)])[0].tolist()


def test_continuous_values_get_bins_of_equal_reference_counts():
    values = np.random.default_rng(0).normal(size=1000)
    bins = make_quantile_bins("score", values, num_bins=10)
    assert counts_of(bins, values.tolist()) == [100] * 10
    assert bins.scale == pytest.approx(values.std())
    by_bin = np.sort(values).reshape(10, 100).mean(axis=1)
    assert bins.representatives == pytest.approx(by_bin.tolist())


def test_values_beyond_the_references_range_fall_in_the_outer_bins():
    bins = make_quantile_bins("score", np.linspace(0.2, 0.8, 50), num_bins=5)
    counts = counts_of(bins, [-7.0, 0.0, 1.0, 99.0])
    assert (counts[0], counts[-1], sum(counts)) == (2, 2, 4)


def test_a_count_with_few_values_has_a_bin_for_each():
    bins = make_quantile_bins("nouns_per_caption", [1] * 50 + [2] * 30 + [4] * 3, num_bins=10)
    assert bins.edges == [1.5, 3.0]
    assert bins.representatives == [1, 2, 4]
    assert BinLayout([bins]).count([label(nouns_per_caption=[1, 2, 2, 4, 9])])[0].tolist() == [1, 2, 2]


def test_quantiles_that_fall_on_one_value_are_merged():
    values = [0.0] * 500 + np.linspace(0.1, 0.9, 500).tolist()
    bins = make_quantile_bins("score", values, num_bins=10)
    assert counts_of(bins, values)[0] == 500
    assert len(bins.edges) == len(set(bins.edges)) == 5
    assert min(counts_of(bins, values)) > 0


def test_values_heaped_at_the_maximum_have_their_own_bin():
    values = np.linspace(0.1, 0.9, 450).tolist() + [1.0] * 550  # the 40 % quantile is below 0.9
    assert counts_of(make_quantile_bins("score", values, num_bins=10), values)[-1] == 550


def test_a_number_that_never_varied_shows_a_change_in_either_direction():
    bins = make_quantile_bins("score", [0.5] * 100, num_bins=10)
    assert counts_of(bins, [0.5, 0.5 + 1e-8, 0.4, 0.6]) == [1, 2, 1]
    assert bins.scale == 0
    assert bins.representatives == sorted(bins.representatives)


@settings(max_examples=60, deadline=None)
@given(st.lists(numbers, min_size=1, max_size=60), st.integers(2, 12), st.lists(numbers, max_size=30))
def test_bins_hold_every_value_once_and_every_reference_bin_is_in_use(reference, num_bins, others):
    bins = make_quantile_bins("score", reference, num_bins=num_bins)
    assert bins.edges == sorted(set(bins.edges))
    assert bins.representatives == sorted(bins.representatives)
    counts = counts_of(bins, reference)
    assert sum(counts) == len(reference)
    assert sum(counts_of(bins, others)) == len(others)
    if len(set(reference)) > 1:
        assert len(counts) <= num_bins
        assert min(counts) > 0
    # A bin may exceed its part only by values that are all the same.
    heaviest = max(reference.count(value) for value in reference)
    assert max(counts) <= math.ceil(len(reference) / num_bins) + heaviest


def test_words_outside_the_most_frequent_are_counted_together():
    bins = make_word_bins(["cat"] * 5 + ["dog"] * 3 + ["ant", "bee"], top=3)
    assert bins.words == ["cat", "dog", "ant"]
    labels = [label(words=["dog", "dog", "bee"]), label(), label(words=["unheard of"])]
    assert BinLayout([bins]).count(labels).tolist() == [[0, 2, 0, 1], [0, 0, 0, 0], [0, 0, 0, 1]]


def test_the_share_of_values_below_a_level_and_labels_without_instances():
    low = ShareBins(quantity="low_reliability", measure="reliability", below=0.3)
    empty = ShareBins(quantity="empty_label", measure="instances_per_label", below=0.5)
    layout = BinLayout([low, empty])
    labels = [label(scores=[0.5, 0.5], reliabilities=[0.2, 0.3]), label()]
    assert layout.count(labels).tolist() == [[1, 1, 1, 0], [0, 0, 0, 1]]
    assert layout.count(labels)[:, layout.columns("empty_label")].tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_not_finite_is_an_error(value):
    bins = make_quantile_bins("score", [0.1, 0.2], num_bins=2)
    with pytest.raises(DataError, match="score that is not finite"):
        counts_of(bins, [0.1, value])
    with pytest.raises(DataError, match="reliability that is not finite"):
        make_quantile_bins("reliability", [value], num_bins=2)


def test_no_values_are_an_error():
    with pytest.raises(DataError, match="no values of score"):
        make_quantile_bins("score", [], num_bins=2)
