"""Shards and leases, on every redis-server there is."""

import threading

import pytest
from queue_examples import all_labels, expire_lease, fill, label, shard

from xpm_stream.errors import LeaseLost
from xpm_stream.label_queue import CommitBatch, Cursor, EncodedLabel, Reject, ShardRecord, TrainedLedger, encode
from xpm_stream.records import ShardId


def test_adding_a_shard_again_changes_nothing(queue):
    assert queue.add_shards([shard("a"), shard("b")]) == 2
    assert queue.add_shards([shard("b"), shard("c"), shard("a")]) == 1
    assert queue.stats().shards_pending == 3


def test_shards_are_leased_in_the_order_of_adding(queue):
    queue.add_shards([shard(name) for name in "zya"])
    assert [queue.acquire("w").shard.shard_id for _ in range(3)] == ["z", "y", "a"]
    assert queue.acquire("w") is None


def test_another_pass_over_a_shard_is_another_shard(queue):
    assert queue.add_shards([shard("a"), shard("a", pass_index=1)]) == 2
    first, second = queue.acquire("w"), queue.acquire("w")
    assert (first.shard.pass_index, second.shard.pass_index) == (0, 1)


def test_a_lease_returns_the_shard_as_it_was_added(queue):
    added = ShardRecord(url="s3://bucket/ü {1}.tar", shard_id=ShardId("x-1.2_3"), size_bytes=2**41, pass_index=7)
    queue.add_shards([added])
    assert queue.acquire("w").shard == added


def test_a_leased_shard_is_nobody_elses_until_its_lease_expires(queue, open_queue):
    queue.add_shards([shard("a")])
    lease = queue.acquire("one", ttl_s=0.05)
    other = open_queue()
    while (taken := other.acquire("two")) is None:
        pass
    assert taken.token > lease.token
    assert taken.takeovers == 1
    assert other.stats().lease_expiries == 1
    with pytest.raises(LeaseLost, match="leased to two"):
        queue.commit(lease, all_labels(lease, 3))
    assert queue.stats().unacked_labels == 0


def test_a_labeler_that_was_frozen_past_its_lease_cannot_write_even_if_nobody_took_the_shard(queue):
    queue.add_shards([shard("a")])
    lease = queue.acquire("one")
    expire_lease(queue, lease.shard.key)
    for write in (
        lambda: queue.commit(lease, all_labels(lease, 3)),
        lambda: queue.renew(lease),
        lambda: queue.fail_shard(lease, reason="gone"),
    ):
        with pytest.raises(LeaseLost, match="expired"):
            write()
    assert queue.stats().unacked_labels == 0


def test_an_expired_shard_is_taken_over_where_it_was_left(queue):
    lease = fill(queue, labels=5)
    expire_lease(queue, lease.shard.key)
    taken = queue.acquire("two")
    assert taken.cursor == Cursor(5, 5 * 512)
    assert taken.takeovers == 1
    taken = queue.commit(taken, all_labels(taken, 6))
    expire_lease(queue, lease.shard.key)
    assert queue.acquire("three").takeovers == 1, "a commit in between shows that the shard's next sample is not poison"


def test_renewing_keeps_a_lease(queue):
    queue.add_shards([shard("a")])
    lease = queue.acquire("one", ttl_s=1000)
    before = next(queue.shard_rows()).expires_ms
    queue.renew(lease)
    assert next(queue.shard_rows()).expires_ms >= before
    assert queue.acquire("two") is None


def test_a_released_shard_keeps_its_place_and_its_cursor(queue):
    queue.add_shards([shard("a"), shard("b")])
    lease = queue.acquire("one")
    lease = queue.commit(lease, all_labels(lease, 2))
    queue.release(lease)
    queue.release(lease)
    again = queue.acquire("two")
    assert (again.shard.shard_id, again.cursor.ordinal, again.takeovers) == ("a", 2, 0)
    queue.release(lease)
    assert queue.acquire("three").shard.shard_id == "b", "releasing an old lease again frees nothing"


def test_a_commit_books_every_sample_in_one_step(queue):
    queue.add_shards([shard("a")])
    lease = queue.acquire("w")
    record = lease.shard
    batch = CommitBatch(
        cursor=Cursor(6, 3000),
        labels=[label(record.sample(0)), EncodedLabel(sample=record.sample(5), data=encode(label(record.sample(5))))],
        skips={"no_nouns": [1, 3], "too_small": [2]},
        rejects=[Reject(ordinal=4, reason="broken_image", detail="truncated JPEG", byte_offset=2048)],
        finished=True,
        note="truncated",
    )
    lease = queue.commit(lease, batch)
    assert lease.finished
    (row,) = queue.shard_rows()
    assert (row.state, row.cursor, row.labels, row.note) == ("finished", Cursor(6, 3000), 2, "truncated")
    assert row.skipped == {"no_nouns": 2, "too_small": 1}
    assert row.dead == {"broken_image": 1}
    (letter,) = queue.dead_letters()
    assert (letter.reason, letter.place, letter.sample) == ("broken_image", record.url + "@2048", record.sample(4))
    stats = queue.stats()
    assert (stats.unacked_labels, stats.labels_committed, stats.shards_finished) == (2, 2, 1)
    assert stats.skipped == {"no_nouns": 2, "too_small": 1}
    assert queue.audit(TrainedLedger()).totals()["queued"] == 2
    assert queue.audit(TrainedLedger()).ok


def test_a_commit_repeated_after_a_cut_connection_writes_nothing_twice(queue):
    queue.add_shards([shard("a")])
    lease = queue.acquire("w")
    batch = CommitBatch(
        cursor=Cursor(3, 9),
        labels=[label(lease.shard.sample(0))],
        skips={"no_nouns": [1]},
        rejects=[Reject(ordinal=2, reason="broken")],
    )
    assert queue.commit(lease, batch) == queue.commit(lease, batch)
    stats = queue.stats()
    assert (stats.unacked_labels, stats.dead_letters, stats.skipped) == (1, 1, {"no_nouns": 1})
    finishing = CommitBatch(cursor=Cursor(3, 9), finished=True)
    lease = queue.commit(lease, batch)
    assert queue.commit(lease, finishing) == queue.commit(lease, finishing)
    assert queue.stats().shards_finished == 1


def test_a_commit_from_an_old_cursor_is_refused(queue):
    queue.add_shards([shard("a")])
    lease = queue.acquire("w")
    queue.commit(lease, all_labels(lease, 3))
    with pytest.raises(LeaseLost, match="cursor is at sample 3, not 0"):
        queue.commit(lease, all_labels(lease, 4))
    assert queue.stats().unacked_labels == 3


@pytest.mark.parametrize(
    ("labelled", "skips", "rejects"),
    [([0, 1], {}, []), ([0, 1, 2], {"x": [2]}, []), ([0, 1, 3], {}, []), ([0, 1], {"x": [1]}, []), ([0], {}, [1, 1])],
)
def test_a_batch_that_loses_or_doubles_a_sample_never_reaches_redis(queue, labelled, skips, rejects):
    queue.add_shards([shard("a")])
    lease = queue.acquire("w")
    batch = CommitBatch(
        cursor=Cursor(3, 9),
        labels=[label(lease.shard.sample(ordinal)) for ordinal in labelled],
        skips=skips,
        rejects=[Reject(ordinal=ordinal, reason="broken") for ordinal in rejects],
    )
    with pytest.raises(ValueError, match="exactly once"):
        queue.commit(lease, batch)


def test_a_label_of_another_shard_is_refused(queue):
    queue.add_shards([shard("a")])
    lease = queue.acquire("w")
    with pytest.raises(ValueError, match="another shard"):
        queue.commit(lease, CommitBatch(cursor=Cursor(1, 9), labels=[label(shard("b").sample(0))]))


def test_a_lease_ends_with_its_shard(queue):
    queue.add_shards([shard("a")])
    lease = queue.acquire("w")
    lease = queue.commit(lease, all_labels(lease, 2, finished=True))
    with pytest.raises(LeaseLost, match="finished"):
        queue.commit(lease, all_labels(lease, 3))
    assert queue.acquire("w") is None


def test_a_shard_that_cannot_be_opened_waits_for_a_retry(queue):
    queue.add_shards([shard("a"), shard("b")])
    lease = queue.acquire("w")
    queue.fail_shard(lease, reason="404")
    queue.fail_shard(lease, reason="404")
    assert queue.acquire("w").shard.shard_id == "b"
    stats = queue.stats()
    assert (stats.shards_failed, stats.shards_finished) == (1, 0)
    (row,) = [row for row in queue.shard_rows() if row.state == "failed"]
    assert row.note == "404"
    assert queue.retry_shards([row.key, "0:unknown"]) == 1
    assert queue.retry_shards() == 0
    assert queue.acquire("w").shard.shard_id == "a"


def test_many_labelers_at_once_never_share_a_shard(queue, open_queue):
    queue.add_shards([shard(f"s{number}") for number in range(60)])
    taken: list[str] = []

    def labeler(mine):
        while (lease := mine.acquire("w")) is not None:
            taken.append(lease.shard.key)
            mine.commit(lease, all_labels(lease, 2, finished=True))

    threads = [threading.Thread(target=labeler, args=(open_queue(),)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 60
    assert queue.stats().unacked_labels == 120


def test_labelers_wait_for_room_and_are_told_so(open_queue):
    queue = open_queue(max_unacked_labels=4)
    lease = fill(queue, labels=3)
    assert queue.capacity().labels_left == 1
    stop = threading.Event()
    assert queue.wait_for_capacity(stop)
    lease = queue.commit(lease, all_labels(lease, 6))
    assert queue.capacity().labels_left == -2, "a commit is never refused"
    seen = []
    assert not queue.wait_for_capacity(stop, timeout_s=0.0)
    assert not queue.wait_for_capacity(stop, on_wait=lambda capacity: (seen.append(capacity), stop.set()))
    assert seen[0].labels_left == -2


def test_the_budget_in_bytes_counts_encoded_messages(open_queue):
    queue = open_queue(max_unacked_mb=1)
    queue.add_shards([shard("a")])
    lease = queue.acquire("w")
    sizes = [len(encode(label(lease.shard.sample(ordinal)))) for ordinal in range(5)]
    queue.commit(lease, all_labels(lease, 5))
    assert queue.capacity().bytes_left == 1024 * 1024 - sum(sizes)
    assert queue.stats().unacked_bytes == sum(sizes)


def test_room_is_back_once_labels_are_acknowledged(queue):
    fill(queue, labels=5)
    before = queue.capacity()
    queue.raise_epoch()
    queue.acknowledge(queue.read("r", count=5))
    after = queue.capacity()
    assert after.labels_left == before.labels_left + 5
    assert after.bytes_left == 256 * 1024 * 1024


def test_keys_of_a_namespace_share_one_hash_tag(queue, server):
    fill(queue, labels=2)
    keys = [key.decode() for key in queue.edge.client.scan_iter(match="*")]
    assert keys
    assert all(key.startswith("{t") and "}:" in key for key in keys)


def test_a_shard_id_that_would_break_key_names_is_refused():
    with pytest.raises(ValueError, match="shard id"):
        ShardRecord(url="u", shard_id=ShardId("a:b"))


def test_a_trial_of_the_sample_at_the_cursor_stands_until_a_commit(queue):
    lease = fill(queue, labels=5)
    for tried in (1, 2):
        assert queue.try_sample(lease).tried == tried
        assert queue.try_sample(lease).tried == tried, "a repeat after a cut connection"
        expire_lease(queue, lease.shard.key)
        with pytest.raises(LeaseLost):
            queue.try_sample(lease)
        lease = queue.acquire("next")
        assert lease.tried == tried
    lease = queue.commit(lease, all_labels(lease, 6))
    expire_lease(queue, lease.shard.key)
    assert queue.acquire("next").tried == 0


def test_a_shard_that_failed_begins_anew_when_it_is_retried(queue):
    lease = queue.try_sample(fill(queue, labels=5))
    queue.fail_shard(lease, reason="kills")
    queue.retry_shards()
    again = queue.acquire("next")
    assert (again.tried, again.takeovers, again.cursor.ordinal) == (0, 0, 5)
