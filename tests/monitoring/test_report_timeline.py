"""Thinning of windows for charts: honest, and no alarm is lost."""

from __future__ import annotations

import math
import re

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_runs import history, window

from xpm_stream.monitoring.drift_verdicts import QuantityLevel
from xpm_stream.monitoring.report_timeline import reliability_quantiles, thin, window_ratios
from xpm_stream.monitoring.report_timeline_chart import timeline_chart
from xpm_stream.monitoring.report_words import changed_words, top_words


def test_few_windows_are_points_as_they_are() -> None:
    records = history(20, drift_at=range(8, 11))
    timeline = thin(records, max_points=20)
    assert [point.first for point in timeline.points] == [record.number for record in records]
    assert [point.reliability for point in timeline.points] == [reliability_quantiles(record) for record in records]
    assert [point.labels_per_second for point in timeline.points] == [record.labels_per_second for record in records]
    assert timeline.thinning() == ""


@settings(max_examples=30, deadline=None)
@given(num=st.integers(1, 60), most=st.integers(1, 20), drift=st.integers(1, 60))
def test_thinning_keeps_every_label_every_alarm_and_the_largest_ratio(num: int, most: int, drift: int) -> None:
    records = history(num, drift_at=range(drift, drift + 1))
    timeline = thin(records, max_points=most)
    assert len(timeline.points) <= most
    assert timeline.points[0].first == 1
    assert timeline.points[-1].last == num
    assert sum(point.num_labels for point in timeline.points) == sum(record.num_labels for record in records)
    alarmed = [point for point in timeline.points if point.alarms]
    assert len(alarmed) == (1 if drift <= num else 0)
    assert all(point.first <= drift <= point.last for point in alarmed)
    for reference, quantity in (("frozen", "reliability"), ("previous_teacher", "words")):
        largest = max(point.ratios[reference, quantity].ratio for point in timeline.points)
        expected = [
            one.ratio
            for record in records
            for one in window_ratios(record)
            if (one.reference, one.quantity) == (reference, quantity)
        ]
        assert largest == max(expected)


def test_the_page_is_told_how_windows_became_points() -> None:
    said = thin(history(90), max_points=20).thinning()
    assert said.startswith("90 windows are drawn as 18 points of up to 5 windows each")


def test_the_furthest_statistic_of_a_quantity_stands_for_it() -> None:
    first = window_ratios(window(1, ratio=1.5))[0]
    assert (first.reference, first.quantity, first.statistic) == ("frozen", "reliability", "psi")
    assert first.ratio == pytest.approx(1.5)


def test_a_threshold_of_zero_is_infinitely_exceeded() -> None:
    (one, *_) = window_ratios(window(1, ratio=1.5))
    assert type(one)(reference="r", quantity="q", statistic="s", value=0.1, threshold=0.0).ratio == math.inf


def test_windows_without_reliability_have_no_quantiles() -> None:
    assert reliability_quantiles(window(1, median=None)) is None
    assert thin([window(1, median=None)], max_points=5).points[0].reliability is None


def test_words_are_added_up_and_weighted_by_their_mentions() -> None:
    records = [window(1, median=0.5, words=("dog", "cat")), window(2, median=0.7, words=("cat",))]
    first, second = top_words(records, most=5)
    assert (first.word, first.mentions, first.windows) == ("cat", 111 + 120, 2)
    assert first.reliability == pytest.approx((111 * 0.48 + 120 * 0.7) / 231)
    assert (second.word, second.mentions) == ("dog", 120)
    assert top_words([window(1, median=None)], most=1)[0].reliability is None


def test_changed_words_are_those_of_the_newest_window_that_was_compared() -> None:
    records = [window(1, words=("dog",)), window(2, words=("cat",), previous_ratio=0.2), window(3, words=())]
    changed = changed_words(records, most=3)
    assert [(one.reference, one.window, one.words[0].word) for one in changed] == [
        ("frozen", 2, "cat"),
        ("previous_teacher", 2, "cat"),
    ]


def test_a_shift_is_marked_by_whether_a_person_should_mind_it() -> None:
    """Every better teacher drifts from the frozen reference: drawn as data that went bad it would hide them."""
    by_data = window(2, ratio=1.5)
    by_teacher = msgspec.structs.replace(window(4, ratio=1.5), cause="teacher")
    level = QuantityLevel(quantity="reliability", num_values=700, level=0.4, reference_level=0.62)
    worse = [msgspec.structs.replace(one, levels=[level]) for one in window(6, ratio=1.5).verdicts]
    by_worse_teacher = msgspec.structs.replace(window(6, ratio=1.5), cause="teacher", verdicts=worse)
    records = [window(1), by_data, window(3), by_teacher, window(5), by_worse_teacher]
    chart = timeline_chart(thin(records, max_points=10), [], narrow=False)
    marks = dict(re.findall(r"<title>(window \d): drift [^<]*</title><path [^>]*fill: var\(--(\w+)\)", chart))
    assert marks == {"window 2": "red", "window 4": "quiet", "window 6": "red"}
    (said,) = re.findall(r"<title>window 4: ([^<]*)</title>", chart)
    assert said.endswith("labels are not trusted less")
