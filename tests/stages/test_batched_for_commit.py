"""How a labeler cuts a shard into commits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from xpm_stream.errors import SampleError
from xpm_stream.records import ImageInline
from xpm_stream.stages.labeling import batched_for_commit
from xpm_stream.stages.prepared_samples import Prepared, PreparedSample, ShardEnd, Usable

OUTCOMES = {
    "usable": Usable(np.zeros((8, 8, 3), dtype=np.uint8), ["dog"], ["a dog"], ImageInline(data=b""), "k", [1]),
    "skip": "no_nouns",
    "reject": SampleError("broken", reason="image_broken"),
}


def _items(kinds: list[str], *, ended: bool = True) -> list[Prepared]:
    items: list[Prepared] = [
        PreparedSample(ordinal=n, offset=512 * n, next_offset=512 * (n + 1), outcome=OUTCOMES[kind])  # type: ignore[arg-type]
        for n, kind in enumerate(kinds)
    ]
    end = ShardEnd(ordinal=len(kinds), offset=512 * len(kinds), damage=None)
    return [*items, end] if ended else items


def _usable(batch: list[Prepared]) -> int:
    return sum(isinstance(item, PreparedSample) and isinstance(item.outcome, Usable) for item in batch)


@given(st.lists(st.sampled_from(sorted(OUTCOMES)), max_size=60), st.integers(1, 9), st.integers(1, 20))
def test_nothing_is_lost_or_reordered_and_no_batch_is_too_large(kinds: list[str], usable: int, most: int) -> None:
    items = _items(kinds)
    batches = list(batched_for_commit(items, usable=usable, most=most))
    assert [item for batch in batches for item in batch] == items
    assert all(batch and len(batch) <= most and _usable(batch) <= usable for batch in batches)
    assert isinstance(batches[-1][-1], ShardEnd)


def test_a_batch_is_full_at_its_last_usable_sample_so_that_no_commit_waits_for_the_next() -> None:
    batches = list(batched_for_commit(_items(["usable", "skip", "usable", "skip", "usable"]), usable=2, most=99))
    assert [len(batch) for batch in batches] == [3, 3]


def test_many_unusable_samples_are_committed_before_a_batch_of_usable_ones_is_full() -> None:
    batches = list(batched_for_commit(_items(["skip"] * 7 + ["usable"]), usable=8, most=3))
    assert [len(batch) for batch in batches] == [3, 3, 3]


def test_an_interrupted_reader_leaves_no_half_batch() -> None:
    assert list(batched_for_commit(_items(["usable"] * 3, ended=False), usable=2, most=9)) == [
        _items(["usable"] * 3)[:2]
    ]


def test_the_end_of_an_empty_shard_is_a_batch_of_its_own(tmp_path: Path) -> None:
    assert [len(batch) for batch in batched_for_commit(_items([]), usable=4, most=9)] == [1]
