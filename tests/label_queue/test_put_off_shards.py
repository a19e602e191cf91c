"""Shards that cannot be read now, or whose labelers die: others come first, and patience ends."""

from queue_examples import all_labels, expire_lease, fill, shard

from xpm_stream.label_queue import TrainedLedger


def taken(queue):
    lease = queue.acquire("w")
    return None if lease is None else lease.shard.shard_id


def wait_for_lease(queue):
    while (lease := queue.acquire("w")) is None:
        pass
    return lease


def test_a_shard_given_up_once_is_next_and_given_up_again_comes_behind_the_others(queue):
    queue.add_shards([shard(name) for name in "abc"])
    first = queue.acquire("w")
    expire_lease(queue, first.shard.key)
    again = queue.acquire("w")
    assert (again.shard.shard_id, again.takeovers) == ("a", 1), "its labeler may just have been killed"
    expire_lease(queue, first.shard.key)
    assert [taken(queue), taken(queue)] == ["b", "c"]
    last = queue.acquire("w")
    assert (last.shard.shard_id, last.takeovers) == ("a", 2)
    assert last.token > again.token
    assert queue.stats().lease_expiries == 2
    assert queue.acquire("w") is None


def test_two_shards_that_kill_do_not_take_turns_before_all_others(queue):
    queue.add_shards([shard(name) for name in "abcd"])
    for _ in range(2):
        for lease in [queue.acquire("w"), queue.acquire("w")]:
            assert lease.shard.shard_id in "ab"
            expire_lease(queue, lease.shard.key)
    assert taken(queue) == "c"
    queue.add_shards([shard("e")])
    one = queue.acquire("w")
    assert one.shard.shard_id == "d"
    for name in "abe":  # those that were added later wait for these: nothing waits for ever
        lease = queue.acquire("w")
        assert lease.shard.shard_id == name
        expire_lease(queue, lease.shard.key)


def test_a_commit_makes_a_shard_that_was_given_up_an_ordinary_one_again(queue):
    queue.add_shards([shard("a"), shard("b")])
    for _ in range(2):
        expire_lease(queue, queue.acquire("w").shard.key)
    assert taken(queue) == "b"
    lease = queue.acquire("w")
    lease = queue.commit(lease, all_labels(lease, 3))
    queue.add_shards([shard("c")])
    expire_lease(queue, lease.shard.key)
    again = queue.acquire("w")
    assert (again.shard.shard_id, again.takeovers) == ("a", 1)


def test_a_shard_that_is_put_off_waits_then_comes_behind_the_others_and_says_why(queue):
    queue.add_shards([shard("a"), shard("b")])
    lease = queue.acquire("w")
    assert not queue.fail_shard(lease, reason="store away", waits_s=[0.01, 1000])
    assert not queue.fail_shard(lease, reason="store away", waits_s=[0.01, 1000]), "a repeat books nothing more"
    assert taken(queue) == "b"
    row = next(row for row in queue.shard_rows() if row.shard_id == "a")
    assert (row.state, row.note, row.put_off) == ("pending", "store away", 1)
    again = wait_for_lease(queue)
    assert (again.shard.shard_id, again.takeovers) == ("a", 0)
    assert queue.stats().lease_expiries == 0
    assert not queue.fail_shard(again, reason="still away", waits_s=[0.01, 1000])
    assert queue.acquire("w") is None, "the second wait is long"
    assert not queue.stats().drained, "the run does not end meanwhile"
    assert queue.audit(TrainedLedger()).ok


def test_a_shard_put_off_as_often_as_there_are_waits_has_failed_until_it_is_retried(queue):
    queue.add_shards([shard("a")])
    for failed in (False, False, True):
        lease = wait_for_lease(queue)
        assert queue.fail_shard(lease, reason="away", waits_s=[0.001, 0.001]) is failed
    assert queue.fail_shard(lease, reason="away", waits_s=[0.001, 0.001]), "a repeat"
    assert queue.stats().shards_failed == 1
    assert queue.stats().drained
    assert queue.retry_shards() == 1
    assert not queue.fail_shard(queue.acquire("w"), reason="away", waits_s=[0.001, 0.001]), "patience begins anew"


def test_patience_begins_anew_with_each_commit(queue):
    queue.add_shards([shard("a")])
    for stop in (2, 4, 6):
        lease = wait_for_lease(queue)
        assert not queue.fail_shard(lease, reason="away", waits_s=[0.001])
        lease = wait_for_lease(queue)
        queue.release(queue.commit(lease, all_labels(lease, stop)))
        (row,) = queue.shard_rows()
        assert (row.put_off, row.note) == (0, None)


def test_putting_a_shard_off_forgets_trials_that_its_labeler_survived(queue):
    queue.add_shards([shard("a")])
    for _ in range(2):
        expire_lease(queue, queue.acquire("w").shard.key)
    lease = queue.try_sample(queue.acquire("w"))
    queue.fail_shard(lease, reason="away", waits_s=[0.001])
    again = wait_for_lease(queue)
    assert (again.tried, again.takeovers) == (0, 0)


def test_leases_are_renewed_while_redis_is_out_of_memory(queue):
    lease = fill(queue, labels=4)
    queue.raise_epoch()
    queue.give_back(queue.read("r", count=1), reason="stale")
    work = queue.take_relabels("w", count=1)
    before = next(queue.shard_rows()).expires_ms
    client = queue.edge.client
    try:
        client.config_set("maxmemory", 1)
        queue.renew_relabels(work)
        while next(queue.shard_rows()).expires_ms == before:
            queue.renew(lease)
    finally:
        client.config_set("maxmemory", 0)
