"""A reader thread hands on items and errors, and ends when nobody reads any more."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from xpm_stream.errors import ShardError
from xpm_stream.stages.prefetch import Prefetched


def _threads(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


def test_items_come_in_order_and_then_it_ends() -> None:
    with Prefetched(lambda: iter(range(50)), depth=3, name="p") as items:
        assert list(items) == list(range(50))


def test_none_is_an_item_like_any_other() -> None:
    with Prefetched(lambda: iter([None, 1]), depth=3, name="p") as items:
        assert list(items) == [None, 1]


def test_an_error_surfaces_behind_the_items_before_it() -> None:
    def produce() -> Iterator[int]:
        yield 1
        raise ShardError("the store is gone")

    with Prefetched(produce, depth=5, name="p") as items:
        reader = iter(items)
        assert next(reader) == 1
        with pytest.raises(ShardError, match="the store is gone"):
            next(reader)


def test_an_error_before_the_first_item_surfaces_too() -> None:
    def produce() -> Iterator[int]:
        raise ShardError("no such shard")

    with Prefetched(produce, depth=1, name="p") as items, pytest.raises(ShardError, match="no such shard"):
        next(iter(items))


def test_no_more_than_depth_items_are_made_ahead() -> None:
    made: list[int] = []
    full = threading.Event()

    def produce() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            if len(made) == 4:  # one at the reader, two queued, one waiting for room
                full.set()
            yield number

    with Prefetched(produce, depth=2, name="p") as items:
        assert next(iter(items)) == 0
        assert full.wait(20)
    assert len(made) == 4


def test_closing_ends_a_thread_that_waits_for_room_and_closes_what_it_read() -> None:
    closed = threading.Event()

    def produce() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    with Prefetched(produce, depth=1, name="endless") as items:
        next(iter(items))
        assert _threads("endless")
    assert closed.is_set()
    assert not _threads("endless")
