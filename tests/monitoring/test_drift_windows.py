from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpm_stream.errors import ConfigError, DataError
from xpm_stream.monitoring.drift_measures import LabelMeasures
from xpm_stream.monitoring.drift_reference import build_reference
from xpm_stream.monitoring.drift_windows import TumblingWindow, WindowCounts, WindowLimits


def label(score, words=()):
    return LabelMeasures(scores=[score], reliabilities=[score], nouns_per_caption=[len(words)], words=words)


RNG = np.random.default_rng(0)
SAMPLE = [label(score, words=["cat", "dog"]) for score in RNG.random(200).tolist()]
REFERENCE = build_reference(SAMPLE, name="frozen", teacher="v1", num_bins=4)


def window(*, max_labels=3, max_seconds=10.0, min_labels=1):
    limits = WindowLimits(max_labels=max_labels, max_seconds=max_seconds, min_labels=min_labels)
    return TumblingWindow(REFERENCE, limits)


def test_a_window_closes_with_its_last_label_and_the_next_begins_empty():
    stream = window(max_labels=3)
    closed = [stream.add(label(0.5), teacher="v1", now_s=float(second)) for second in range(7)]
    assert [len(one) for one in closed] == [0, 0, 1, 0, 0, 1, 0]
    first, second = closed[2][0], closed[5][0]
    assert (first.num_labels, first.started_at_s, first.ended_at_s) == (3, 0.0, 2.0)
    assert (second.num_labels, second.started_at_s, second.ended_at_s) == (3, 3.0, 5.0)
    assert first.counts == second.counts == (3 * REFERENCE.layout.count([label(0.5)])[0]).tolist()


def test_a_window_closes_by_time_before_the_label_that_comes_too_late_for_it():
    stream = window(max_seconds=10.0)
    assert stream.add(label(0.1), teacher="v1", now_s=100.0) == []
    assert stream.close_if_due(now_s=109.9) == []
    (closed,) = stream.add(label(0.9), teacher="v2", now_s=110.0)
    assert (closed.num_labels, closed.teachers) == (1, {"v1": 1})
    assert (closed.started_at_s, closed.ended_at_s) == (100.0, 110.0)
    (after,) = stream.close_if_due(now_s=500.0)
    assert (after.teachers, after.started_at_s, after.ended_at_s) == ({"v2": 1}, 110.0, 120.0)


def test_an_idle_stream_has_no_windows_and_one_label_may_close_two():
    stream = window(max_labels=2, max_seconds=10.0)
    assert stream.close_if_due(now_s=1e6) == []
    stream.add(label(0.1), teacher="v1", now_s=0.0)
    one = window(max_labels=1)
    assert len(one.add(label(0.1), teacher="v1", now_s=0.0)) == 1
    (late,) = stream.add(label(0.1), teacher="v1", now_s=10.0)
    (full,) = stream.add(label(0.1), teacher="v1", now_s=11.0)
    assert (late.num_labels, full.num_labels) == (1, 2)


def test_a_label_that_cannot_be_counted_leaves_the_window_as_it_was():
    stream = window(max_labels=2)
    stream.add(label(0.1), teacher="v1", now_s=0.0)
    with pytest.raises(DataError, match="not finite"):
        stream.add(label(float("nan")), teacher="v1", now_s=1.0)
    (closed,) = stream.add(label(0.1), teacher="v1", now_s=2.0)
    assert (closed.num_labels, closed.teachers) == (2, {"v1": 2})
    assert closed.counts == (2 * REFERENCE.layout.count([label(0.1)])[0]).tolist()


scores = st.lists(st.tuples(st.floats(0, 1), st.sampled_from(["v1", "v2"])), min_size=1, max_size=20)


def counted(some, *, start=0.0):
    stream = window(max_labels=len(some), max_seconds=1e9)
    for second, (score, teacher) in enumerate(some):
        closed = stream.add(label(score, words=["cat"]), teacher=teacher, now_s=start + second)
    return closed[0]


@settings(max_examples=40, deadline=None)
@given(scores, scores)
def test_merged_windows_are_the_window_of_the_merged_labels(one, other):
    apart = counted(one).merge(counted(other, start=float(len(one))))
    assert apart == counted([*one, *other])
    assert counted(other, start=float(len(one))).merge(counted(one)) == apart


def test_a_window_holds_no_more_than_counts_and_travels_as_json():
    closed = counted([(0.2, "v1"), (0.8, "v2")])
    assert len(closed.counts) == REFERENCE.layout.num_columns
    assert msgspec.json.decode(msgspec.json.encode(closed), type=WindowCounts) == closed


def test_windows_on_different_bins_are_not_merged():
    closed = counted([(0.2, "v1")])
    with pytest.raises(ValueError, match="different bins"):
        closed.merge(msgspec.structs.replace(closed, bins_id="others"))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"min_labels": 0}, "at least 1"),
        ({"min_labels": 4}, "at most max_labels"),
        ({"max_seconds": 0.0}, "above 0"),
        ({"max_seconds": float("nan")}, "above 0"),
    ],
)
def test_limits_that_no_window_could_keep_are_errors(changed, message):
    with pytest.raises(ConfigError, match=message):
        window(**changed)
