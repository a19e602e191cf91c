"""Giving labels back and labelling them again, on every redis-server there is."""

import pytest
from queue_examples import expire_relabels, fill, label, shard

from xpm_stream.errors import LeaseLost
from xpm_stream.label_queue import Reject, RelabelReject, TrainedLedger


@pytest.fixture
def stale(queue):
    """A queue with three labels, all with the trainer."""
    fill(queue, labels=3)
    queue.raise_epoch()
    return queue, queue.read("r", count=3)


def relabelled(work, promotion=2):
    return [label(one.sample, promotion=promotion) for one in work]


def test_a_stale_label_goes_back_and_returns_with_a_newer_teacher(stale):
    queue, held = stale
    assert queue.give_back(held[:2], reason="stale").moved == 2
    stats = queue.stats()
    assert (stats.unacked_labels, stats.relabels) == (1, 2)
    assert queue.audit(TrainedLedger()).totals() == {
        "samples": 3, "trained": 0, "queued": 1, "relabels": 2, "skipped": 0, "dead": 0,
        "unsettled": 0, "ahead": 0, "never_readable": 0, "missing": 0, "doubled": 0,
    }  # fmt: skip
    lease = queue.take_relabels("w", count=10)
    assert [one.message for one in lease.work] == [delivery.message for delivery in held[:2]]
    assert {(one.relabels, one.reason, one.shard) for one in lease.work} == {(1, "stale", shard("a"))}
    assert queue.commit_relabels(lease, labels=relabelled(lease.work)) == 2
    back = queue.read("r", count=10)
    assert [delivery.message.teacher.promotion for delivery in back] == [2, 2]
    assert {delivery.relabels for delivery in back} == {1}
    assert queue.stats().relabel_bytes == 0


def test_giving_back_twice_moves_once(stale):
    queue, held = stale
    assert queue.give_back(held, reason="stale").moved == 3
    assert queue.give_back(held, reason="stale").moved == 0
    assert queue.stats().relabels == 3


def test_relabel_work_counts_against_the_budget_in_place_of_the_label(stale):
    queue, held = stale
    before = queue.capacity()
    queue.give_back(held, reason="stale")
    assert queue.capacity() == before


def test_relabel_work_is_leased_to_one_labeler_until_the_lease_expires(stale):
    queue, held = stale
    queue.give_back(held, reason="stale")
    first = queue.take_relabels("one", count=2)
    second = queue.take_relabels("two", count=2)
    assert len(first.work) == 2
    assert len(second.work) == 1
    assert queue.take_relabels("three", count=2) is None
    expire_relabels(queue)
    assert queue.commit_relabels(first, labels=relabelled(first.work)) == 0, "a frozen labeler cannot write"
    taken = queue.take_relabels("three", count=9)
    assert len(taken.work) == 3
    assert queue.commit_relabels(first, labels=relabelled(first.work)) == 0
    assert queue.commit_relabels(taken, labels=relabelled(taken.work)) == 3
    assert queue.audit(TrainedLedger()).totals()["queued"] == 3


def test_a_relabel_commit_repeated_writes_nothing_twice(stale):
    queue, held = stale
    queue.give_back(held, reason="stale")
    lease = queue.take_relabels("w", count=3)
    assert queue.commit_relabels(lease, labels=relabelled(lease.work)) == 3
    assert queue.commit_relabels(lease, labels=relabelled(lease.work)) == 0
    assert queue.stats().unacked_labels == 3


def test_a_sample_is_sent_back_only_so_often(open_queue):
    queue = open_queue(max_relabels=1)
    fill(queue, labels=1)
    queue.raise_epoch()
    queue.give_back(queue.read("r", count=1), reason="stale")
    lease = queue.take_relabels("w", count=1)
    queue.commit_relabels(lease, labels=relabelled(lease.work))
    (again,) = queue.read("r", count=1)
    result = queue.give_back([again], reason="stale")
    assert (result.moved, result.exhausted) == (0, (again,))
    assert queue.acknowledge([again]) == 1


def test_a_relabelled_sample_may_end_skipped_or_dead(stale):
    queue, held = stale
    queue.give_back(held, reason="stale")
    lease = queue.take_relabels("w", count=3)
    one, two, three = lease.work
    rejected = RelabelReject(sample=three.sample, reject=Reject(ordinal=2, reason="broken", byte_offset=7))
    moved = queue.commit_relabels(
        lease, labels=relabelled([one]), skips={"nothing_found": [two.sample]}, rejects=[rejected]
    )
    assert moved == 3
    (row,) = queue.audit(TrainedLedger()).rows
    assert (row.queued, row.skipped_by_reason, row.dead_by_reason) == (1, {"nothing_found": 1}, {"broken": 1})
    assert row.ok
    (letter,) = queue.dead_letters()
    assert letter.place == "file:///shards/a.tar@7"
    assert queue.stats().skipped == {"nothing_found": 1}


def test_a_sample_outside_the_lease_is_refused(stale):
    queue, held = stale
    queue.give_back(held[:1], reason="stale")
    lease = queue.take_relabels("w", count=1)
    with pytest.raises(ValueError, match="samples of its lease"):
        queue.commit_relabels(lease, labels=[label(held[1].sample)])
    with pytest.raises(ValueError, match="once"):
        queue.commit_relabels(lease, labels=relabelled(lease.work), skips={"x": [held[0].sample]})


def test_work_that_could_not_be_had_is_put_off_and_says_how_often(stale):
    queue, held = stale
    queue.give_back(held, reason="stale")
    lease = queue.take_relabels("w", count=3)
    first, second, _ = (one.sample for one in lease.work)
    assert queue.commit_relabels(lease, later={first: 0.001}) == 0
    assert queue.commit_relabels(lease, later={second: 1000}) == 0
    assert queue.commit_relabels(lease, later={second: 1000}) == 0
    while (again := queue.take_relabels("w", count=3)) is None:
        pass
    assert [(one.sample, one.attempts) for one in again.work] == [(first, 1)]
    assert queue.stats().relabels == 3
    assert queue.commit_relabels(again, labels=relabelled(again.work)) == 1
    expire_relabels(queue)
    assert sorted(one.attempts for one in queue.take_relabels("w", count=3).work) == [0, 1]


def test_samples_whose_leases_run_out_twice_are_leased_alone_and_booked(stale):
    queue, held = stale
    queue.give_back(held, reason="stale")
    for _ in range(2):
        assert [one.tried for one in queue.take_relabels("w", count=3).work] == [0, 0, 0]
        expire_relabels(queue)
    first = queue.take_relabels("w", count=3)
    others = [queue.take_relabels("w", count=3) for _ in range(2)]
    assert [[one.tried for one in lease.work] for lease in (first, *others)] == [[1], [1], [1]]
    assert queue.commit_relabels(first, labels=relabelled(first.work)) == 1
    expire_relabels(queue)
    assert [one.tried for one in queue.take_relabels("w", count=3).work] == [2]


def test_a_sample_tried_alone_and_survived_is_no_suspect_any_more(stale):
    queue, held = stale
    queue.give_back(held[:1], reason="stale")
    for _ in range(3):
        lease = queue.take_relabels("w", count=3)
        expire_relabels(queue)
    queue.edge.client.zadd(queue.keys.relabel_queue, {str(held[0].sample): 1e15})
    queue.commit_relabels(lease, later={held[0].sample: 0.001})
    while (again := queue.take_relabels("w", count=3)) is None:
        pass
    assert (again.work[0].tried, again.work[0].attempts) == (0, 1)


def test_a_suspect_is_leased_without_the_ordinary_work_behind_it(stale):
    queue, held = stale
    queue.give_back(held[:1], reason="stale")
    for _ in range(2):
        queue.take_relabels("w", count=3)
        expire_relabels(queue)
    queue.give_back(held[1:], reason="stale")
    alone, others = queue.take_relabels("w", count=3), queue.take_relabels("w", count=3)
    assert [one.sample for one in alone.work] == [held[0].sample]
    assert [one.sample for one in others.work] == [delivery.sample for delivery in held[1:]]


def test_renewing_keeps_relabel_work_and_says_when_it_is_another_s(stale):
    queue, held = stale
    queue.give_back(held, reason="stale")
    lease = queue.take_relabels("w", count=2)
    (other,) = queue.take_relabels("other", count=3).work
    deadlines = dict(queue.edge.client.zrange(queue.keys.relabel_queue, 0, -1, withscores=True))
    while (found := dict(queue.edge.client.zrange(queue.keys.relabel_queue, 0, -1, withscores=True))) == deadlines:
        queue.renew_relabels(lease)
    moved = {sample for sample, deadline in found.items() if deadline > deadlines[sample]}
    assert moved == {str(work.sample).encode() for work in lease.work}
    assert str(other.sample).encode() not in moved
    queue.commit_relabels(lease, labels=relabelled(lease.work[:1]))
    queue.renew_relabels(lease)  # of the other sample
    expire_relabels(queue)
    with pytest.raises(LeaseLost, match="over"):
        queue.renew_relabels(lease)
    assert queue.take_relabels("new", count=3) is not None
    with pytest.raises(LeaseLost, match="over"):
        queue.renew_relabels(lease)
