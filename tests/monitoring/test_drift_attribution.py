"""Teacher or data: injected changes of either, and of both, are told apart by the canary set's labels."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import msgspec
import numpy as np
import pytest
from drift_examples import labels, taught_otherwise

from xpm_stream.monitoring import drift_attribution
from xpm_stream.monitoring.canary_labels import CanaryLabels
from xpm_stream.monitoring.drift_attribution import Attribution, attribute, together
from xpm_stream.monitoring.drift_measures import LabelMeasures
from xpm_stream.monitoring.drift_reference import DriftReference, build_reference
from xpm_stream.monitoring.drift_statistics import wasserstein_distance
from xpm_stream.monitoring.drift_thresholds import DriftThresholds, calibrate
from xpm_stream.monitoring.drift_verdicts import DriftVerdict, judge
from xpm_stream.monitoring.drift_windows import WindowCounts, WindowLimits

WINDOW = 500
TRIALS = 6
ANOTHER_TEACHER = {"reliability": -0.7, "score": -0.5}
NOISY_CAPTIONS = {"noisy_share": 0.4}
ANOTHER_DOMAIN = {"other_domain_share": 0.4, "empty_share": 0.1}


@pytest.fixture(scope="module")
def reference() -> DriftReference:
    return build_reference(labels(4000, seed=1), name="frozen", teacher="v1")


@pytest.fixture(scope="module")
def thresholds(reference: DriftReference) -> DriftThresholds:
    limits = WindowLimits(max_labels=WINDOW, max_seconds=60.0, min_labels=WINDOW)
    return calibrate(reference, limits, false_alarm_windows=200)


class Stream:
    """Windows of the stream, and canary labels of the teachers."""

    def __init__(self, reference: DriftReference, thresholds: DriftThresholds) -> None:
        self.reference = reference
        self.thresholds = thresholds
        self.images = labels(200, seed=2)
        self.before = CanaryLabels(checkpoint="a", canary_id="c", images=self.images)

    def judged(self, window: list[LabelMeasures]) -> tuple[DriftVerdict, Any]:
        counts = self.reference.layout.count(window).sum(axis=0)
        closed = WindowCounts(
            bins_id=self.reference.bins_id,
            num_labels=len(window),
            counts=counts.tolist(),
            teachers={"v2": len(window)},
            started_at_s=0.0,
            ended_at_s=1.0,
        )
        return judge(self.reference, self.thresholds, closed), counts

    def attributed(
        self, data: dict[str, Any], teacher: dict[str, Any], *, seed: int, **given: Any
    ) -> Attribution | None:
        window = taught_otherwise(labels(WINDOW, seed=100 + seed, **data), seed=seed, **teacher)
        verdict, counts = self.judged(window)
        after = taught_otherwise(self.images, seed=200 + seed, **teacher)
        arguments = {
            "same_teacher": False,
            "canary_reference": self.before,
            "canary_window": CanaryLabels(checkpoint="b", canary_id="c", images=after),
        }
        return attribute(verdict, self.reference, counts, **{**arguments, **given})

    def causes(self, data: dict[str, Any], teacher: dict[str, Any], **given: Any) -> Counter[str | None]:
        found = [self.attributed(data, teacher, seed=seed, **given) for seed in range(TRIALS)]
        return Counter(one and one.cause for one in found)


@pytest.fixture(scope="module")
def stream(reference: DriftReference, thresholds: DriftThresholds) -> Stream:
    return Stream(reference, thresholds)


@pytest.mark.parametrize("teacher", [ANOTHER_TEACHER, {"reliability": 0.8}, {"area": 0.6}])
def test_an_injected_change_of_the_teacher_is_the_teachers(stream: Stream, teacher: dict[str, float]) -> None:
    assert stream.causes({}, teacher)["teacher"] >= TRIALS - 1


@pytest.mark.parametrize("data", [NOISY_CAPTIONS, ANOTHER_DOMAIN, {"vanished_word": 1}])
@pytest.mark.parametrize("teacher", [{}, {"reliability": 0.05, "noise": 0.05}], ids=["as good", "a little better"])
def test_an_injected_shift_of_the_data_is_the_datas(stream: Stream, data: dict[str, Any], teacher: Any) -> None:
    assert stream.causes(data, teacher) == {"data": TRIALS}


@pytest.mark.parametrize("data", [NOISY_CAPTIONS, ANOTHER_DOMAIN, {"vanished_word": 1}])
def test_both_injected_are_both(stream: Stream, data: dict[str, Any]) -> None:
    assert stream.causes(data, ANOTHER_TEACHER)["both"] >= TRIALS - 1


def test_a_change_of_the_captions_is_known_even_without_canary_labels(stream: Stream) -> None:
    assert stream.causes({"vanished_word": 1}, {}, canary_window=None)["data"] == TRIALS


@pytest.mark.parametrize("side", ["canary_reference", "canary_window"])
def test_without_canary_labels_or_of_another_set_the_cause_is_unknown(stream: Stream, side: str) -> None:
    other = msgspec.structs.replace(stream.before, canary_id="another")
    assert stream.causes({}, ANOTHER_TEACHER, **{side: None})["unknown"] >= TRIALS - 1
    assert stream.causes({}, ANOTHER_TEACHER, **{side: other})["unknown"] >= TRIALS - 1


def test_with_one_teacher_throughout_it_is_the_data_whatever_the_canary_set_says(stream: Stream) -> None:
    assert stream.causes(NOISY_CAPTIONS, {}, same_teacher=True, canary_window=None) == {"data": TRIALS}


def test_no_alarm_has_no_cause(stream: Stream) -> None:
    assert stream.causes({}, {})[None] >= TRIALS - 1  # but for a false alarm


def test_a_quantity_that_the_teacher_no_longer_gives_is_the_teachers(stream: Stream) -> None:
    def silent(some: list[LabelMeasures]) -> list[LabelMeasures]:
        return [msgspec.structs.replace(one, reliabilities=[]) for one in some]

    verdict, counts = stream.judged(silent(labels(WINDOW, seed=3)))
    assert verdict.missing == ["reliability", "low_reliability"]
    gone = CanaryLabels(checkpoint="b", canary_id="c", images=silent(stream.images))
    still = CanaryLabels(checkpoint="b", canary_id="c", images=taught_otherwise(stream.images))
    for canary, cause in ((gone, "teacher"), (still, "data")):
        found = attribute(
            verdict,
            stream.reference,
            counts,
            same_teacher=False,
            canary_reference=stream.before,
            canary_window=canary,
        )
        assert found is not None
        assert found.cause == cause


def test_what_the_canary_set_explains_is_said(stream: Stream) -> None:
    found = stream.attributed({}, ANOTHER_TEACHER, seed=1)
    assert found is not None
    reliability = next(one for one in found.quantities if one.quantity == "reliability")
    assert reliability.p_value is not None
    assert reliability.p_value < 0.005
    assert reliability.explained is not None
    assert 0.7 < reliability.explained <= 1.0


def test_known_causes_count_more_than_unknown_ones() -> None:
    assert together(["unknown", "unknown"]) == "unknown"
    assert together(["unknown", "data"]) == "data"
    assert together(["teacher", "teacher"]) == "teacher"
    assert together(["teacher", "unknown", "data"]) == together(["both"]) == together(["both", "data"]) == "both"


def test_the_permutation_test_keeps_its_level() -> None:
    """Two teachers that differ by noise only: the canary comparison is right to find nothing, but for chance."""
    made = build_reference(labels(600, seed=5), name="frozen", teacher="v1")
    columns = made.layout.columns("reliability")
    distance = partial(wasserstein_distance, representatives=drift_attribution._positions(made, "reliability"))
    found = []
    for seed in range(60):
        images = labels(100, seed=1000 + seed)
        pair = [taught_otherwise(images, noise=0.3, seed=10 * seed + side) for side in (1, 2)]
        before, after = (made.layout.count(one)[:, columns] for one in pair)
        found.append(drift_attribution._permutation_p_value(distance, before, after, seed=seed))
    assert 0.35 < np.mean(found) < 0.65
    assert np.mean(np.array(found) < 0.1) < 0.25
