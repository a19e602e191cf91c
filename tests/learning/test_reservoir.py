"""The reservoir of trained samples: bounded, uniform for each word, and the same after a resume."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from xpm_stream.learning.reservoir import Reservoir
from xpm_stream.learning.reservoir_state import ReplaySample, ReservoirLimits, ReservoirState, deal
from xpm_stream.records import (
    ImageInline,
    ImageReference,
    InstanceAnnotation,
    LabelMessage,
    SampleId,
    ShardId,
    TeacherVersion,
)

WORDS = ["dog", "cat", "cup", "car", "kite"]
WIDE = ReservoirLimits(per_word=24, capacity=5000, inline_bytes=1 << 20)


def _sample(number: int, words: Sequence[str] = ("dog",), *, inline: int = 0) -> ReplaySample:
    image = ImageInline(data=bytes(inline)) if inline else ImageReference("file:///s.tar", 512 * number, 9)
    return ReplaySample(sample=SampleId(0, ShardId("s"), number), words=list(words), image=image)


def _filled(samples: Sequence[ReplaySample], limits: ReservoirLimits = WIDE, *, seed: int = 0) -> Reservoir:
    made = Reservoir(limits, seed=[seed])
    for sample in samples:
        made.add(sample)
    return made


def _ordinals(reservoir: Reservoir) -> list[int]:
    return [kept.sample.ordinal for kept in reservoir.state().samples]


def _check_whole(reservoir: Reservoir) -> None:
    """Within its bounds, and every list and count agrees with every other."""
    state = reservoir.state()
    assert len(state.samples) == len(reservoir) <= state.limits.capacity
    assert reservoir.inline_bytes == sum(kept.inline_bytes for kept in state.samples) <= state.limits.inline_bytes
    for word, known in state.words.items():
        assert 1 <= len(known.places) == len(set(known.places)) <= min(known.quota, known.seen)
        assert 1 <= known.quota <= state.limits.per_word
        assert all(word in state.samples[place].words for place in known.places)
    listed = {place for known in state.words.values() for place in known.places}
    assert listed == set(range(len(state.samples))), "a sample that no word lists is never drawn"


_samples = st.lists(st.tuples(st.lists(st.sampled_from(WORDS), max_size=3), st.integers(0, 40)), max_size=60).map(
    lambda drawn: [_sample(n, words, inline=size) for n, (words, size) in enumerate(drawn)]
)
_limits = st.builds(
    ReservoirLimits, per_word=st.integers(1, 6), capacity=st.integers(1, 12), inline_bytes=st.integers(0, 200)
)


@settings(max_examples=60, deadline=None)
@given(_samples, _limits, st.lists(st.integers(0, 59), max_size=10))
def test_its_bounds_hold_whatever_comes_and_goes(
    samples: list[ReplaySample], limits: ReservoirLimits, lost: list[int]
) -> None:
    reservoir = Reservoir(limits, seed=[1])
    for sample in samples:
        reservoir.add(sample)
        _check_whole(reservoir)
    for number in lost:
        sample_id = SampleId(0, ShardId("s"), number)
        was_kept = number in _ordinals(reservoir)
        assert reservoir.remove(sample_id) == was_kept
        assert sample_id not in reservoir
        _check_whole(reservoir)


@settings(max_examples=60, deadline=None)
@given(_samples, _limits, st.integers(0, 60))
def test_a_resumed_one_goes_on_as_if_nothing_had_been(
    samples: list[ReplaySample], limits: ReservoirLimits, at: int
) -> None:
    through = _filled(samples, limits)
    before = _filled(samples[:at], limits)
    packed = msgspec.msgpack.encode(before.state())
    resumed = Reservoir.from_state(msgspec.msgpack.decode(packed, type=ReservoirState), limits=limits, seed=[0])
    assert resumed.state() == before.state()
    for sample in samples[at:]:
        resumed.add(sample)
    assert resumed.state() == through.state()
    draws = [one.draw(3, rng=np.random.default_rng(5)) for one in (resumed, through)]
    assert draws[0] == draws[1]


@settings(max_examples=40, deadline=None)
@given(_samples, _limits, _limits)
def test_other_limits_hold_from_the_resume_on(
    samples: list[ReplaySample], limits: ReservoirLimits, other: ReservoirLimits
) -> None:
    resumed = Reservoir.from_state(_filled(samples, limits).state(), limits=other, seed=[0])
    _check_whole(resumed)
    assert resumed.state().limits == other


def _uniform(counts: Counter[int], *, over: int) -> float:
    return float(stats.chisquare([counts[number] for number in range(over)]).pvalue)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (ReservoirLimits(per_word=5, capacity=100, inline_bytes=0), ["dog"]),
        # The bound on all presses, and the word's quota falls while samples come.
        (ReservoirLimits(per_word=9, capacity=5, inline_bytes=0), ["dog"]),
        # Kept once, however many words list it.
        (ReservoirLimits(per_word=5, capacity=100, inline_bytes=0), ["dog", "cat"]),
    ],
)
def test_every_sample_of_a_word_is_as_likely_to_be_kept(limits: ReservoirLimits, words: list[str]) -> None:
    samples = [_sample(number, words) for number in range(20)]
    kept = Counter(number for seed in range(600) for number in _ordinals(_filled(samples, limits, seed=seed)))
    assert _uniform(kept, over=20) > 0.001


def test_a_draw_takes_a_word_first_so_that_rare_words_come_as_often() -> None:
    rare = [_sample(number, ["kite"]) for number in range(2)]
    often = [_sample(number, ["dog"]) for number in range(2, 22)]
    reservoir = _filled([*rare, *often])
    rng = np.random.default_rng(3)
    drawn = Counter(kept.sample.ordinal for _ in range(4000) for kept in reservoir.draw(1, rng=rng))
    assert stats.binomtest(drawn[0] + drawn[1], 4000, 0.5).pvalue > 0.001
    assert _uniform(Counter({n - 2: drawn[n] for n in range(2, 22)}), over=20) > 0.001


def test_a_draw_gives_different_samples_and_no_more_than_there_are() -> None:
    reservoir = _filled([_sample(number, [word]) for number, word in enumerate(WORDS)])
    drawn = reservoir.draw(3, rng=np.random.default_rng(0))
    assert len({kept.sample for kept in drawn}) == len(drawn) == 3
    assert len(reservoir.draw(50, rng=np.random.default_rng(0))) == len(WORDS)
    assert Reservoir(WIDE, seed=[0]).draw(3, rng=np.random.default_rng(0)) == []


def test_a_word_that_left_the_stream_keeps_its_samples() -> None:
    early = [_sample(number, ["kite"]) for number in range(40)]
    late = [_sample(number, ["dog"]) for number in range(40, 2000)]
    state = _filled([*early, *late]).state()
    assert {word: len(known.places) for word, known in state.words.items()} == {"kite": 24, "dog": 24}


def test_a_lost_sample_gives_its_place_to_the_next_of_its_word() -> None:
    limits = ReservoirLimits(per_word=3, capacity=100, inline_bytes=0)
    reservoir = _filled([_sample(number) for number in range(500)], limits)
    gone = _ordinals(reservoir)[0]
    assert reservoir.remove(SampleId(0, ShardId("s"), gone))
    assert not reservoir.remove(SampleId(0, ShardId("s"), gone))
    reservoir.add(_sample(500))
    assert len(reservoir) == 3
    assert 500 in _ordinals(reservoir)


def test_only_a_label_that_names_partner_images_is_kept_with_its_sample() -> None:
    message = LabelMessage(
        method="xpm",
        sample=SampleId(0, ShardId("s"), 3),
        teacher=TeacherVersion(1, 0, 0),
        image=ImageInline(data=b"12345"),
        image_size_wh=(8, 8),
        words=["dog"],
        annotation=InstanceAnnotation(instances=[]),
        labelled_at_s=1.0,
    )
    kept = ReplaySample.of(message)
    assert (kept.previous, kept.inline_bytes, kept.words) == (None, 5, ["dog"])


@settings(max_examples=40, deadline=None)
@given(_samples, st.integers(1, 3), st.integers(1, 4))
def test_ranks_that_are_more_or_fewer_have_every_sample_once(
    samples: list[ReplaySample], before: int, now: int
) -> None:
    limits = ReservoirLimits(per_word=4, capacity=40, inline_bytes=10_000)
    states = [_filled(samples[rank::before], limits, seed=rank).state() for rank in range(before)]
    dealt = deal(states, ranks=now)
    assert len(dealt) == now
    if now == before:
        assert dealt == states
    held = [kept.sample for state in dealt for kept in state.samples]
    assert sorted(held) == sorted(kept.sample for state in states for kept in state.samples)
    assert max(len(state.samples) for state in dealt) <= min(len(state.samples) for state in dealt) + 1 or now == before
    for rank, state in enumerate(dealt):
        _check_whole(Reservoir.from_state(state, limits=limits, seed=[rank]))
    if now > before == 1:
        for word, known in states[0].words.items():
            assert sum(len(state.words[word].places) for state in dealt if word in state.words) == len(known.places)


def test_what_was_seen_of_a_word_is_divided_among_ranks() -> None:
    state = _filled([_sample(number) for number in range(1000)]).state()
    assert [one.words["dog"].seen for one in deal([state], ranks=4)] == [250] * 4
    (alone,) = deal(deal([state], ranks=4), ranks=1)
    assert alone.words["dog"].seen == 1000


def test_where_the_bound_presses_the_words_that_have_most_give_first() -> None:
    limits = ReservoirLimits(per_word=24, capacity=30, inline_bytes=0)
    often = [_sample(number, ["dog"]) for number in range(100)]
    others = [_sample(100 + number, [f"word{number}"]) for number in range(20)]
    reservoir = _filled([*often, *others], limits)
    lengths = {word: len(known.places) for word, known in reservoir.state().words.items()}
    assert len(reservoir) == 30, "the room is used"
    assert lengths == {"dog": 10, **{f"word{number}": 1 for number in range(20)}}


def test_a_sample_too_large_for_the_room_of_all_does_not_empty_it() -> None:
    limits = ReservoirLimits(per_word=24, capacity=30, inline_bytes=100)
    small = [_sample(number, inline=10) for number in range(10)]
    reservoir = _filled([*small, _sample(10, inline=101)], limits)
    assert _ordinals(reservoir) == list(range(10))


def test_with_more_words_than_room_the_room_is_used_and_later_words_still_come_in() -> None:
    limits = ReservoirLimits(per_word=24, capacity=30, inline_bytes=0)
    state = _filled([_sample(number, [f"word{number}"]) for number in range(200)], limits).state()
    assert len(state.samples) == len(state.words) == 30
    assert max(kept.sample.ordinal for kept in state.samples) > 150
