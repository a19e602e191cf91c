"""Per-word standardised reliability and the measured eta."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from scipy.stats import norm

from xpm_stream.learning.reliability import EtaWindow, StandardisedReliability, WordMeans


def test_with_many_labels_it_is_the_normal_distribution_of_the_words_own_z_score() -> None:
    rng = np.random.default_rng(0)
    reliability = StandardisedReliability()
    easy, hard = rng.normal(-0.5, 0.2, 5000), rng.normal(-6.0, 1.5, 5000)
    reliability.update(["easy"] * 5000, easy.tolist())
    reliability.update(["hard"] * 5000, hard.tolist())
    for word, values, value in (("easy", easy, -0.9), ("hard", hard, -4.0)):
        expected = norm.cdf((value - values.mean()) / values.std())
        assert reliability.score(word, value) == pytest.approx(expected, abs=0.02)


def test_a_hard_word_at_its_usual_level_is_as_reliable_as_an_easy_word_at_its_own() -> None:
    reliability = StandardisedReliability()
    for _ in range(3000):
        reliability.update(["easy", "easy", "hard", "hard"], [-0.1, -0.3, -5.0, -7.0])
    assert reliability.score("easy", -0.2) == pytest.approx(reliability.score("hard", -6.0), abs=0.03)
    assert reliability.score("hard", -9.0) < 0.05


def test_it_rises_with_the_log_probability() -> None:
    reliability = StandardisedReliability()
    reliability.update(["cup"] * 4, [-1.0, -2.0, -3.0, -1.5])
    scores = [reliability.score("cup", value) for value in np.linspace(-6, 0, 20)]
    assert all(low < high for low, high in itertools.pairwise(scores))
    assert all(0 <= score <= 1 for score in scores)


def test_a_word_never_seen_borrows_from_all_words_and_the_first_label_is_undecided() -> None:
    reliability = StandardisedReliability()
    assert 0 <= reliability.score("cup", -1.0) <= 1
    reliability.update(["dog"] * 100, np.linspace(-2, 0, 100).tolist())
    assert reliability.score("cup", -1.0) == pytest.approx(0.5, abs=0.01)


def test_after_a_change_of_teacher_new_labels_outweigh_the_old_ones() -> None:
    reliability = StandardisedReliability()
    reliability.update(["cup"] * 1000, np.random.default_rng(0).normal(-6, 0.5, 1000).tolist())
    reliability.soften()
    reliability.update(["cup"] * 60, np.random.default_rng(1).normal(-1, 0.5, 60).tolist())
    assert reliability.score("cup", -3.0) < 0.2 < 0.4 < reliability.score("cup", -1.0)


def test_its_state_survives_json() -> None:
    reliability = StandardisedReliability()
    reliability.update(["cup", "dog", "cup"], [-1.0, -2.0, -1.4])
    restored = StandardisedReliability()
    restored.load_state(json.loads(json.dumps(reliability.state())))
    for word in ("cup", "dog", "new"):
        assert restored.score(word, -1.2) == pytest.approx(reliability.score(word, -1.2))


def test_eta_is_a_low_quantile_of_what_was_seen_and_holds_when_frozen() -> None:
    window = EtaWindow(quantile=0.05)
    assert window.eta is None
    window.add(np.linspace(1, 2, 101))
    assert window.eta == pytest.approx(1.05)
    window.freeze()
    window.add([0.001] * 1000)
    assert window.eta == pytest.approx(1.05)
    window.freeze()
    assert window.eta == pytest.approx(0.001)


def test_a_fixed_eta_stays_and_a_frozen_one_survives_json() -> None:
    fixed = EtaWindow(quantile=0.05, fixed=0.01)
    fixed.add([5.0])
    fixed.freeze()
    assert fixed.eta == 0.01
    window, restored = EtaWindow(quantile=0.5), EtaWindow(quantile=0.5)
    window.add([1.0, 2.0, 3.0])
    window.freeze()
    restored.load_state(json.loads(json.dumps(window.state())))
    assert restored.eta == 2.0


def test_word_means_are_means_until_the_memory_is_full_and_follow_what_comes_after() -> None:
    means = WordMeans(memory=4)
    means.update(["cup", "dog", "cup"], [0.2, 0.9, 0.4])
    assert means.of(["dog", "cup"]) == pytest.approx([0.9, 0.3])
    means.update(["cup"] * 2, [0.3, 0.3])
    means.update(["cup"], [0.7])
    assert means.of(["cup"]) == pytest.approx([0.3 + 0.4 / 4]), "the fifth label weighs a quarter, not a fifth"
    brought_back = WordMeans(memory=4)
    brought_back.load_state(json.loads(json.dumps(means.state())))
    for one in (means, brought_back):
        one.update(["cup"], [0.0])
    assert brought_back.of(["cup"]) == means.of(["cup"])
    with pytest.raises(KeyError):
        means.of(["never"])
