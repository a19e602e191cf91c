from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.drift_labels import LabelModel
from xpm_stream.errors import DataError
from xpm_stream.monitoring.drift_reference import build_reference
from xpm_stream.monitoring.drift_thresholds import calibrate
from xpm_stream.monitoring.drift_verdicts import DriftDetector, DriftVerdict, QuantityLevel, decode_verdict, judge
from xpm_stream.monitoring.drift_windows import TumblingWindow, WindowLimits

LIMITS = WindowLimits(max_labels=200, max_seconds=60.0, min_labels=50)


def built(name, *, seed):
    labels = LabelModel().draw(1500, np.random.default_rng(seed))
    reference = build_reference(labels, name=name, teacher=f"v{seed}", top_words=20)
    return reference, calibrate(reference, LIMITS, false_alarm_windows=500, replicates_per_alarm=20)


@pytest.fixture(scope="module")
def frozen():
    return built("frozen", seed=1)


def verdicts(watched, labels, *, seconds_apart=0.1, teacher="v7"):
    detector = DriftDetector(*watched, LIMITS)
    found = []
    for place, label in enumerate(labels):
        found += detector.add(label, teacher=teacher, now_s=1000.0 + place * seconds_apart)
    return found


def drawn(number=200, *, seed=11, **shift):
    return LabelModel(**shift).draw(number, np.random.default_rng(seed))


def test_a_window_like_the_reference_is_no_drift(frozen):
    (verdict,) = verdicts(frozen, drawn())
    assert (verdict.status, verdict.above, verdict.missing) == ("no_drift", [], [])
    assert (verdict.reference, verdict.reference_teacher, verdict.teacher) == ("frozen", "v1", "v7")
    assert verdict.num_labels == 200
    assert (verdict.started_at_s, verdict.ended_at_s) == (1000.0, pytest.approx(1019.9))
    assert verdict.false_alarm_windows == 500


@pytest.mark.parametrize(
    ("shift", "quantity"),
    [
        ({"noisy_share": 0.5}, "reliability"),
        ({"noisy_share": 0.5}, "low_reliability"),
        ({"other_domain_share": 1.0}, "box_area_share"),
        ({"vanished_word": 0}, "word"),
        ({"empty_share": 0.3}, "empty_label"),
        ({"captions_without_nouns": 0.3}, "caption_without_nouns"),
    ],
)
def test_a_shift_is_drift_of_the_quantity_it_moves(frozen, shift, quantity):
    (verdict,) = verdicts(frozen, drawn(**shift))
    assert verdict.status == "drift"
    assert quantity in {one.quantity for one in verdict.above}
    assert all(one.value > one.threshold for one in verdict.above)


def test_levels_and_words_say_what_happened(frozen):
    (verdict,) = verdicts(frozen, drawn(noisy_share=0.5, vanished_word=0))
    levels = {one.quantity: one for one in verdict.levels}
    assert levels["reliability"].level < levels["reliability"].reference_level - 0.05
    assert levels["low_reliability"].level > 0.15 > levels["low_reliability"].reference_level
    assert (levels["word"].level, levels["word"].num_values > 300) == (None, True)
    assert verdict.changed_words[0].word == "word0"
    assert verdict.changed_words[0].window_share == 0


def test_a_window_is_trusted_less_below_four_fifths_of_the_references_reliability_and_not_above(frozen):
    (verdict,) = verdicts(frozen, drawn())
    reference = next(one.reference_level for one in verdict.levels if one.quantity == "reliability")

    def at(share: float, quantity: str = "reliability") -> DriftVerdict:
        level = QuantityLevel(quantity=quantity, num_values=100, level=share * reference, reference_level=reference)
        return msgspec.structs.replace(verdict, levels=[level])

    assert at(0.79).less_trusted
    assert not at(0.81).less_trusted
    assert not at(0.5, "score").less_trusted
    assert not msgspec.structs.replace(verdict, levels=[]).less_trusted


def test_too_few_labels_are_not_judged_but_shown(frozen):
    detector = DriftDetector(*frozen, LIMITS)
    for label in drawn(49, noisy_share=0.9):
        assert detector.add(label, teacher="v7", now_s=5.0) == []
    (verdict,) = detector.close_if_due(now_s=65.0)
    assert (verdict.status, verdict.num_labels, verdict.above) == ("too_few", 49, [])
    assert all(one.threshold is None for one in verdict.statistics)
    assert any(one.value is not None for one in verdict.statistics)


def test_a_window_closed_by_time_is_judged_by_the_thresholds_of_its_size(frozen):
    _, thresholds = frozen
    (verdict, *_) = verdicts(frozen, drawn(150), seconds_apart=0.6)
    assert verdict.num_labels == 100
    assert [one.threshold for one in verdict.statistics] == thresholds.at(100)


def test_a_quantity_the_teacher_no_longer_gives_is_named(frozen):
    without = [msgspec.structs.replace(label, reliabilities=[]) for label in drawn()]
    (verdict,) = verdicts(frozen, without)
    assert verdict.missing == ["reliability", "low_reliability"]


def test_the_teacher_of_most_labels_stands_for_the_window(frozen):
    detector = DriftDetector(*frozen, LIMITS)
    found = []
    for place, label in enumerate(drawn()):
        found += detector.add(label, teacher="v7" if place < 80 else "v8", now_s=0.0)
    assert (found[0].teacher, found[0].teachers) == ("v8", {"v7": 80, "v8": 120})


def test_two_references_are_watched_side_by_side(frozen):
    labels = drawn()
    previous = built("previous_teacher", seed=2)
    found = [verdicts(watched, labels)[0] for watched in (frozen, previous)]
    assert [one.reference for one in found] == ["frozen", "previous_teacher"]
    assert found[0].statistics != found[1].statistics


def test_a_verdict_comes_back_from_json(frozen):
    (verdict,) = verdicts(frozen, drawn(vanished_word=0))
    assert decode_verdict(msgspec.json.encode(verdict)) == verdict
    assert isinstance(verdict, DriftVerdict)
    with pytest.raises(DataError, match="schema 2"):
        decode_verdict(msgspec.json.encode(msgspec.structs.replace(verdict, schema_version=2)))


def test_counts_on_other_bins_are_refused(frozen):
    reference, thresholds = frozen
    other, _ = built("other", seed=2)
    window = TumblingWindow(other, WindowLimits(max_labels=1, max_seconds=1.0, min_labels=1))
    (closed,) = window.add(drawn(1)[0], teacher="v1", now_s=0.0)
    with pytest.raises(ValueError, match="bins differ"):
        judge(reference, thresholds, closed)
