"""Of which labels references are made: one teacher's, the first for the frozen one, the last for the other."""

from __future__ import annotations

from xpm_stream.monitoring.drift_measures import LabelMeasures
from xpm_stream.monitoring.drift_samples import ReferenceSample, ReferenceSamples


def labels(first: int, stop: int) -> list[LabelMeasures]:
    return [LabelMeasures(scores=[float(number)]) for number in range(first, stop)]


def add(samples: ReferenceSamples, first: int, stop: int, teacher: int) -> list[ReferenceSample]:
    return samples.add(labels(first, stop), [teacher] * (stop - first))


def told(found: list[ReferenceSample]) -> list[tuple[str, str, float, float, int]]:
    """Name, teacher, first, last, number."""
    return [
        (one.name, one.teacher, one.labels[0].scores[0], one.labels[-1].scores[0], len(one.labels)) for one in found
    ]


def collecting(*, need_frozen: bool = True) -> ReferenceSamples:
    samples = ReferenceSamples(size=400, need_frozen=need_frozen)
    assert samples.is_newer(1)
    assert samples.change_teacher(1) == []
    return samples


def test_the_frozen_one_is_the_first_labels_of_a_teacher_and_is_made_once() -> None:
    samples = collecting()
    assert add(samples, 0, 190, 1) == []
    assert samples.collected == {"frozen": 190, "previous_teacher": 190, "current_teacher": 190}
    assert told(add(samples, 190, 390, 1)) == [("current_teacher", "v1", 0, 389, 390)]
    assert samples.collected == {"frozen": 390, "previous_teacher": 390}
    assert told(add(samples, 390, 450, 1)) == [("frozen", "v1", 0, 399, 400)]
    assert add(samples, 450, 2000, 1) == []
    assert samples.collected == {"previous_teacher": 400}


def test_the_previous_teachers_is_its_last_labels_when_a_newer_one_begins() -> None:
    samples = collecting(need_frozen=False)
    assert told(add(samples, 0, 1000, 1)) == [("current_teacher", "v1", 0, 999, 1000)]
    assert not samples.is_newer(1)
    assert samples.is_newer(2)
    assert told(samples.change_teacher(2)) == [("previous_teacher", "v1", 600, 999, 400)]
    assert add(samples, 1000, 1199, 2) == []
    assert samples.change_teacher(3) == [], "199 of 400 are not enough: the one before stays"
    add(samples, 1199, 1399, 3)
    assert told(samples.change_teacher(5)) == [("previous_teacher", "v3", 1199, 1398, 200)]


def test_half_the_labels_are_enough_for_the_frozen_one_where_the_teacher_changes_early() -> None:
    samples = collecting()
    add(samples, 0, 199, 1)
    assert samples.change_teacher(2) == []
    nothing = {"frozen": 0, "previous_teacher": 0, "current_teacher": 0}
    assert samples.collected == nothing, "a mixture of teachers is nobody's"
    add(samples, 199, 400, 2)
    assert told(samples.change_teacher(3)) == [
        ("frozen", "v2", 199, 399, 201),
        ("previous_teacher", "v2", 199, 399, 201),
    ]


def test_labels_that_slower_labelers_made_with_an_older_teacher_are_left_out() -> None:
    samples = collecting()
    samples.change_teacher(2)
    mixed = [1 if number % 3 == 0 else 2 for number in range(600)]
    frozen, current = samples.add(labels(0, 600), mixed)
    assert frozen.teacher == current.teacher == "v2"
    assert all(one.scores[0] % 3 for one in frozen.labels)


def test_a_reference_never_has_fewer_than_a_hundred_labels() -> None:
    samples = ReferenceSamples(size=120, need_frozen=True)
    samples.change_teacher(1)
    add(samples, 0, 99, 1)
    assert samples.change_teacher(2) == []
    add(samples, 0, 100, 2)
    assert len(samples.change_teacher(3)) == 2
