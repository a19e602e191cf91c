from __future__ import annotations

from typing import Any

import msgspec
from queue_examples import expire_lease, fill, shard

from xpm_stream.label_queue import LabelQueue


def acquire(queue: LabelQueue, *, owner: str, lease: str) -> dict[str, Any] | None:
    """As the client sends it, and sends it again when a cut connection swallowed the answer."""
    keys = queue.keys
    packed = queue.edge.run(
        "acquire",
        keys=[
            keys.shards,
            keys.pending,
            keys.leases,
            keys.meta,
            keys.counters,
            keys.grants,
            keys.grant_deadlines,
        ],
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


def test_labelers_of_one_name_are_not_taken_for_each_other(queue: LabelQueue) -> None:
    queue.add_shards([shard("a"), shard("b"), shard("c")])
    first = acquire(queue, owner="labeler-0", lease="one")
    other = acquire(queue, owner="labeler-0", lease="two")
    assert acquire(queue, owner="labeler-0", lease="one") == first
    assert acquire(queue, owner="labeler-0", lease="two") == other
    assert queue.stats().shards_leased == 2


def test_a_request_that_comes_again_when_its_lease_is_over_leases_nothing(queue: LabelQueue) -> None:
    queue.add_shards([shard("a"), shard("b")])
    lease = queue.acquire("labeler-0")
    assert lease is not None
    queue.release(lease)
    assert acquire(queue, owner="labeler-0", lease=lease.lease_id) is None, "nobody waits for the answer"
    expired = queue.acquire("labeler-0")
    assert expired is not None
    expire_lease(queue, expired.shard.key)
    assert acquire(queue, owner="labeler-0", lease=expired.lease_id) is None
    assert queue.acquire("labeler-0") is not None


def test_what_was_granted_is_remembered_no_longer_than_the_leases_last(queue: LabelQueue) -> None:
    queue.add_shards([shard(f"s{number}") for number in range(5)])
    fill(queue, labels=3, name="s0")
    queue.raise_epoch()
    queue.give_back(queue.read("rank0", count=3), reason="stale")
    client, keys = queue.edge.client, queue.keys
    for number in range(3):
        assert queue.acquire(f"host-{number}") is not None
        assert queue.take_relabels(f"host-{number}", count=1) is not None
    assert queue.take_relabels("host-9", count=1) is None
    assert client.hlen(keys.grants) == client.zcard(keys.grant_deadlines) == 7
    for lease_id in client.zrange(keys.grant_deadlines, 0, -1):
        client.zadd(keys.grant_deadlines, {lease_id: 1})  # as waiting for the leases' ends would
    assert queue.acquire("labeler-0") is not None
    assert client.hlen(keys.grants) == client.zcard(keys.grant_deadlines) == 1


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
