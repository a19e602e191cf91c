import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpm_stream.label_queue import OrdinalRanges

ordinals = st.sets(st.integers(0, 60))


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 8))))
def test_ranges_hold_what_was_added_in_whatever_order(added):
    ranges, expected = OrdinalRanges(), set()
    for start, length in added:
        ranges.add_range(start, start + length)
        expected |= set(range(start, start + length))
    assert list(ranges) == sorted(expected)
    assert len(ranges) == len(expected)
    assert bool(ranges) == bool(expected)
    assert all((ordinal in ranges) == (ordinal in expected) for ordinal in range(70))


@given(st.lists(st.integers(0, 60)))
def test_ranges_never_touch_and_so_are_as_few_as_possible(added):
    pairs = list(OrdinalRanges.of(added).ranges())
    assert all(start < stop for start, stop in pairs)
    assert all(before[1] < after[0] for before, after in pairwise(pairs))


@given(st.lists(st.integers(0, 60)))
def test_add_says_whether_an_ordinal_is_new(added):
    ranges, seen = OrdinalRanges(), set()
    for ordinal in added:
        assert ranges.add(ordinal) == (ordinal not in seen)
        seen.add(ordinal)


@given(ordinals, ordinals)
def test_set_algebra_agrees_with_sets(left, right):
    ours, theirs = OrdinalRanges.of(left), OrdinalRanges.of(right)
    assert list(ours.union(theirs)) == sorted(left | right)
    assert list(ours.intersection(theirs)) == sorted(left & right)
    assert list(ours.difference(theirs)) == sorted(left - right)
    assert (ours == theirs) == (left == right)


@given(ordinals)
def test_ranges_survive_json(numbers):
    ranges = OrdinalRanges.of(numbers)
    assert OrdinalRanges.from_list(json.loads(json.dumps(ranges.to_list()))) == ranges


@given(ordinals)
def test_a_redis_bitmap_reads_as_the_ordinals_that_were_set(numbers):
    bitmap = bytearray(max(numbers, default=0) // 8 + 1)
    for number in numbers:
        bitmap[number // 8] |= 0x80 >> (number % 8)
    assert list(OrdinalRanges.from_bitmap(bytes(bitmap))) == sorted(numbers)


def test_a_million_samples_in_a_row_cost_two_numbers():
    ranges = OrdinalRanges([(0, 500_000)])
    ranges.add_range(500_000, 1_000_000)
    assert ranges.to_list() == [0, 1_000_000]


def test_a_copy_is_independent():
    ranges = OrdinalRanges.of([1])
    twin = ranges.copy()
    twin.add(2)
    assert list(ranges) == [1]


@pytest.mark.parametrize("flat", [[1], [1, -1], [1.0, 2], ["a", 1], [True, 1]])
def test_what_is_not_ranges_is_refused(flat):
    with pytest.raises(ValueError, match="ordinal ranges are"):
        OrdinalRanges.from_list(flat)


def test_a_reversed_range_is_refused():
    with pytest.raises(ValueError, match="not a range"):
        OrdinalRanges([(3, 2)])


def test_ranges_read_well():
    assert str(OrdinalRanges.of([0, 1, 2, 5, 7, 8])) == "0-2, 5, 7-8"
