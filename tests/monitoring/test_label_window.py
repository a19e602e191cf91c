"""A window of label messages: when it closes, and what its record says of it."""

from __future__ import annotations

from typing import Any

import pytest

from xpm_stream.monitoring.drift_measures import LabelMeasures
from xpm_stream.monitoring.drift_reference import build_reference
from xpm_stream.monitoring.drift_windows import WindowLimits
from xpm_stream.monitoring.label_measures import measures_of
from xpm_stream.monitoring.label_window import LabelWindow
from xpm_stream.records import (
    ImageReference,
    InstanceAnnotation,
    LabelMessage,
    PseudoInstance,
    SampleId,
    ShardId,
    TeacherVersion,
)


def label(*instances: tuple[str, float, float | None], teacher: int = 1, **changes: Any) -> LabelMessage:
    values: dict[str, Any] = {
        "method": "xpm",
        "sample": SampleId(0, ShardId("a"), 0),
        "teacher": TeacherVersion(teacher, 0, 0),
        "image": ImageReference("file:///a.tar", 0, 10),
        "image_size_wh": (100, 50),
        "words": ["cat", "dog"],
        "annotation": InstanceAnnotation(
            instances=[
                PseudoInstance(
                    word=word, box_xyxy=(10, 0, 60, 25), mask_bits=bytes(98), score=score, reliability=reliability
                )
                for word, score, reliability in instances
            ]
        ),
        "labelled_at_s": 1.0,
        "nouns_per_caption": [2, 0],
    }
    return LabelMessage(**{**values, **changes})


@pytest.fixture
def window() -> LabelWindow:
    return LabelWindow(WindowLimits(max_labels=3, max_seconds=10.0, min_labels=1))


def test_a_labels_measures_are_what_its_annotation_and_captions_say() -> None:
    assert measures_of(label(("cat", 0.5, 0.25), ("dog", 0.75, None))) == LabelMeasures(
        scores=[0.5, 0.75],
        reliabilities=[0.25],
        box_area_shares=[0.25, 0.25],
        nouns_per_caption=[2, 0],
        words=["cat", "dog"],
    )


def test_it_is_full_by_number_and_due_by_time_since_its_first_label(window: LabelWindow) -> None:
    assert not window.due(1e9), "a window begins with its first label"
    window.add(label(), at_s=100.0)
    window.add(label(), at_s=109.0)
    assert not window.due(109.9)
    assert not window.full
    assert window.due(110.0)
    window.add(label(), at_s=109.5)
    assert window.full
    closed = window.close()
    assert (closed.num_labels, closed.started_at_s, closed.ended_at_s) == (3, 100.0, 109.5)
    assert (len(window), window.full, window.due(1e9)) == (0, False, False)


def test_one_that_is_due_ends_at_the_end_of_its_time(window: LabelWindow) -> None:
    window.add(label(), at_s=100.0)
    assert window.close(now_s=500.0).ended_at_s == 110.0
    window.add(label(), at_s=200.0)
    assert window.close(now_s=205.0).ended_at_s == 200.0


def test_its_record_says_words_quantiles_and_teachers(window: LabelWindow) -> None:
    window.add(label(("cat", 0.5, 0.25), ("dog", 0.75, None)), at_s=1.0)
    window.add(label(("cat", 0.25, 0.75), teacher=2), at_s=2.0)
    window.add(label(teacher=2, words=["cat", "bird"]), at_s=3.0)
    closed = window.close()
    assert closed.teacher_counts == {"v2": 2, "v1": 1}
    assert next(iter(closed.teacher_counts)) == "v2", "most first"
    assert closed.instances_per_label() == 1.0
    quantiles = closed.quantiles()
    assert quantiles["reliability"] is not None
    assert quantiles["reliability"]["0.5"] == 0.5
    assert set(quantiles["reliability"]) == {"0.05", "0.25", "0.5", "0.75", "0.95"}
    assert quantiles["score"] is not None
    assert quantiles["score"]["0.5"] == 0.5
    assert [(one.word, one.mentions, one.reliability) for one in closed.words()] == [
        ("cat", 3, 0.5),
        ("dog", 2, None),
        ("bird", 1, None),
    ]
    window.add(label(), at_s=4.0)
    assert window.close().quantiles() == {"reliability": None, "score": None}


def test_its_counts_are_on_the_bins_of_any_reference(window: LabelWindow) -> None:
    many = [measures_of(label(("cat", number / 200, 0.5))) for number in range(200)]
    reference = build_reference(many, name="frozen", teacher="v1")
    window.add(label(("cat", 0.5, 0.5)), at_s=1.0)
    window.add(label(), at_s=2.0)
    counts = window.close().counts_on(reference)
    assert (counts.num_labels, counts.teachers, counts.bins_id) == (2, {"v1": 2}, reference.bins_id)
    columns = reference.layout.columns("empty_label")
    assert counts.counts[columns] == [1, 1]
