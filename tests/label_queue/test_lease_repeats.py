from __future__ import annotations

from typing import Any

import msgspec
from queue_examples import shard

from xpm_stream.label_queue import LabelQueue


def acquire(queue: LabelQueue, *, owner: str, lease: str) -> dict[str, Any] | None:
    """As the client sends it, and sends it again when a cut connection swallowed the answer."""
    keys = queue.keys
    packed = queue.edge.run(
        "acquire",
        keys=[keys.shards, keys.pending, keys.leases, keys.meta, keys.counters],
        arguments={"owner": owner, "lease": lease, "ttl_ms": 30_000},
        doing="leasing a shard",
    )
    return None if packed is None else msgspec.msgpack.decode(packed)


def test_a_repeated_acquisition_gives_the_same_lease_and_takes_no_second_shard(queue: LabelQueue) -> None:
    queue.add_shards([shard("a"), shard("b"), shard("c")])
    first = acquire(queue, owner="labeler-0", lease="one")
    other = acquire(queue, owner="labeler-1", lease="two")
    assert first is not None
    assert other is not None
    assert other["shard_id"] == "b"
    assert acquire(queue, owner="labeler-0", lease="one") == first
    assert queue.stats().shards_leased == 2
    again = acquire(queue, owner="labeler-0", lease="three")
    assert again is not None
    assert again["shard_id"] == "c", "a new request of the same labeler is no repeat"


def test_a_repeat_of_a_lease_that_has_ended_is_a_new_request(queue: LabelQueue) -> None:
    queue.add_shards([shard("a")])
    lease = queue.acquire("labeler-0")
    assert lease is not None
    queue.release(lease)
    taken = acquire(queue, owner="labeler-0", lease=lease.lease_id)
    assert taken is not None
    assert taken["token"] > lease.token


def test_acquiring_costs_the_same_however_many_shards_are_leased(queue: LabelQueue) -> None:
    def rows_loaded() -> int:
        before = _calls_of_hget(queue)
        assert queue.acquire("labeler-0") is not None
        return _calls_of_hget(queue) - before

    queue.add_shards([shard(f"s{number}") for number in range(60)])
    assert queue.acquire("labeler-0") is not None
    few = rows_loaded()
    for number in range(50):
        assert queue.acquire(f"labeler-{number}") is not None
    assert rows_loaded() == few


def _calls_of_hget(queue: LabelQueue) -> int:
    return int(queue.edge.client.info("commandstats")["cmdstat_hget"]["calls"])
