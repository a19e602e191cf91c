"""Each sample is trained by one rank only, and every rank finds the same."""

from __future__ import annotations

from collections.abc import Sequence

from xpm_stream.records import SampleId, ShardId
from xpm_stream.stages.training_state import TeacherTally
from xpm_stream.stages.turns import Entry, Turn, accepted_entries


def _sample(ordinal: int) -> SampleId:
    return SampleId(0, ShardId("s"), ordinal)


def _turn(*ordinals: int) -> Turn:
    return Turn(
        entries=[
            Entry(sample=_sample(ordinal), promotion=1, words=["dog"], tally=TeacherTally(samples=1))
            for ordinal in ordinals
        ]
    )


def _accepted(turns: Sequence[Turn], trained: Sequence[int] = ()) -> list[list[int]]:
    found = accepted_entries(turns, trained=[_sample(ordinal) for ordinal in trained])
    return [[entry.sample.ordinal for entry in entries] for entries in found]


def test_what_only_one_rank_brings_is_accepted() -> None:
    assert _accepted([_turn(1, 2), _turn(), _turn(3)]) == [[1, 2], [], [3]]


def test_what_two_ranks_bring_is_trained_by_the_lower() -> None:
    assert _accepted([_turn(1, 2), _turn(2, 3)]) == [[1, 2], [3]]


def test_what_is_trained_already_is_accepted_nowhere() -> None:
    assert _accepted([_turn(1, 2), _turn(2, 3)], trained=[2, 3]) == [[1], []]


def test_a_sample_that_one_rank_brings_twice_is_trained_once() -> None:
    assert _accepted([_turn(1, 1)]) == [[1]]
