from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpm_stream.errors import TextError
from xpm_stream.vocabulary import Vocabulary

WORDS = st.lists(st.sampled_from([f"word{number}" for number in range(12)]), max_size=60)


def test_base_words_come_first_and_keep_their_order() -> None:
    vocabulary = Vocabulary(["zebra", "dog", "apple"])
    vocabulary.add(["aardvark", "dog"])
    assert list(vocabulary) == ["zebra", "dog", "apple", "aardvark"]
    assert vocabulary.num_base == 3
    assert list(vocabulary.counts) == [0, 1, 0, 1]


def test_a_full_vocabulary_refuses_new_words_says_how_many_and_still_counts_old_ones() -> None:
    vocabulary = Vocabulary(["dog", "cat"], max_size=3)
    assert vocabulary.add(["sofa", "kite", "kite", "dog"]) == [2, None, None, 0]
    assert len(vocabulary) == 3
    assert vocabulary.refused == 2
    assert vocabulary.state()["refused"] == 2


def test_a_word_is_admitted_when_it_was_seen_often_enough() -> None:
    vocabulary = Vocabulary(min_count=3)
    assert vocabulary.add(["kite", "dog", "kite"]) == [None, None, None]
    assert vocabulary.add(["kite"]) == [0]
    assert vocabulary.counts[0] == 3
    assert vocabulary.refused == 0


def test_a_stream_of_rare_words_neither_grows_memory_nor_keeps_a_frequent_word_out() -> None:
    vocabulary = Vocabulary(max_size=10, min_count=4)
    for number in range(1000):
        vocabulary.add([f"rare{number}", "kite"])
    assert vocabulary.words == ["kite"]
    assert len(vocabulary.state()["waiting"]) <= 10


def test_an_unknown_word_is_named_by_the_error() -> None:
    with pytest.raises(TextError, match="'kite' is not in the vocabulary of 1 words"):
        Vocabulary(["dog"]).index("kite")
    assert Vocabulary(["dog"]).get("kite") is None


@pytest.mark.parametrize(
    ("words", "max_size", "message"),
    [(["dog", "dog"], 5, "given twice"), (["a", "b"], 1, "do not fit"), ([""], 5, "empty string"), ([], 0, "max_size")],
)
def test_bad_base_words_are_errors(words: list[str], max_size: int, message: str) -> None:
    with pytest.raises(TextError, match=message):
        Vocabulary(words, max_size=max_size)


@given(before=WORDS, after=WORDS, max_size=st.integers(2, 14), min_count=st.integers(1, 3))
def test_a_restart_from_state_changes_nothing(
    before: list[str], after: list[str], max_size: int, min_count: int
) -> None:
    unbroken = Vocabulary(["base1", "base2"], max_size=max_size, min_count=min_count)
    unbroken.add(before)
    restarted = Vocabulary.from_state(json.loads(json.dumps(unbroken.state())))
    assert restarted.add(after) == unbroken.add(after)
    assert restarted.state() == unbroken.state()


@given(words=WORDS, more=WORDS)
def test_an_index_never_changes(words: list[str], more: list[str]) -> None:
    vocabulary = Vocabulary(["base"], max_size=8)
    vocabulary.add(words)
    first = {word: vocabulary.index(word) for word in vocabulary}
    vocabulary.add(more)
    assert {word: vocabulary.index(word) for word in first} == first
    assert [vocabulary.index(word) for word in vocabulary.words] == list(range(len(vocabulary)))


@pytest.mark.parametrize(
    "damage",
    [
        {"version": 99},
        {"words": ["dog", "dog"]},
        {"counts": [1]},
        {"num_base": 7},
        {"num_base": "many"},
        {"max_size": 1},
        {"waiting": None},
    ],
)
def test_a_damaged_state_is_an_error(damage: dict[str, object]) -> None:
    with pytest.raises(TextError):
        Vocabulary.from_state({**Vocabulary(["dog", "cat"]).state(), **damage})
