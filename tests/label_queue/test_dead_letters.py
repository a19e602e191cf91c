"""Failures, dead letters, replay and purge, on every redis-server there is."""

import pytest
from queue_examples import fill, label, shard

from xpm_stream.label_queue import CommitBatch, Cursor, Reject, TrainedLedger, decode


@pytest.fixture
def held(queue):
    fill(queue, labels=3)
    queue.raise_epoch()
    return queue.read("r", count=3)


def test_a_message_that_fails_too_often_becomes_a_dead_letter(queue, held):
    once = queue.fail(held[0], reason="train_error", detail="boom")
    assert once.attempts == 1
    twice = queue.fail(once, reason="train_error", detail="boom")
    assert queue.stats().dead_letters == 0
    assert queue.fail(twice, reason="train_error", detail="boom") is None
    (letter,) = queue.dead_letters()
    assert (letter.reason, letter.detail, letter.attempts, letter.side) == ("train_error", "boom", 3, "trainer")
    assert letter.sample == held[0].sample
    stats = queue.stats()
    assert (stats.unacked_labels, stats.dead) == (2, {"train_error": 1})
    (row,) = queue.audit(TrainedLedger()).rows
    assert (row.dead, row.dead_by_reason, row.queued) == (1, {"train_error": 1}, 2)


def test_a_failure_reported_twice_counts_once(queue, held):
    queue.fail(held[0], reason="x")
    assert queue.fail(held[0], reason="x").attempts == 1


def test_failures_are_remembered_over_a_restart_and_restarts_are_no_failures(queue, open_queue, held):
    queue.fail(held[0], reason="x")
    for _ in range(5):
        newer = open_queue()
        newer.raise_epoch()
        found = newer.read("r", count=9)
    assert [delivery.attempts for delivery in found] == [1, 0, 0]
    assert {delivery.deliveries for delivery in found} == {6}
    assert newer.stats().dead_letters == 0


def test_burying_twice_leaves_one_letter(queue, held):
    queue.dead_letter(held[0], reason="x")
    queue.dead_letter(held[0], reason="x")
    assert len(list(queue.dead_letters())) == 1
    assert queue.stats().dead == {"x": 1}


def test_a_replayed_message_goes_to_the_trainer_again(queue, held):
    queue.dead_letter(held[0], reason="x")
    letters = list(queue.dead_letters())
    assert queue.replay(letters).to_stream == 1
    assert (again := queue.replay(letters)).to_stream == 0
    assert again.gone == 1
    (back,) = queue.read("r", count=5)
    assert (back.message, back.attempts) == (held[0].message, 0)
    stats = queue.stats()
    assert (stats.dead_letters, stats.dead, stats.unacked_labels) == (0, {}, 3)
    assert queue.audit(TrainedLedger()).ok
    queue.edge.client.xdel(queue.keys.labels, back.entry_id)
    assert queue.audit(TrainedLedger()).missing == 1, "a replayed sample is dead no more"


def test_a_replayed_sample_without_a_message_goes_to_the_labelers(queue):
    queue.add_shards([shard("a")])
    lease = queue.acquire("w")
    queue.commit(lease, CommitBatch(cursor=Cursor(1, 512), rejects=[Reject(ordinal=0, reason="timeout")]))
    assert queue.replay(list(queue.dead_letters())).to_relabel == 1
    lease = queue.take_relabels("w", count=5)
    assert lease.work[0].message is None
    assert lease.work[0].shard == shard("a")
    assert queue.commit_relabels(lease, labels=[label(lease.work[0].sample)]) == 1
    (row,) = queue.audit(TrainedLedger()).rows
    assert (row.queued, row.dead, row.dead_by_reason) == (1, 0, {})


def test_a_purged_letters_sample_is_dead_for_good(queue, held):
    queue.dead_letter(held[0], reason="x")
    letters = list(queue.dead_letters())
    assert queue.show_dead_letter(letters[0].letter_id) == letters[0]
    assert queue.purge(letters) == 1
    assert queue.purge(letters) == 0
    assert queue.show_dead_letter(letters[0].letter_id) is None
    (row,) = queue.audit(TrainedLedger()).rows
    assert (row.dead, row.ok) == (1, True)


def test_letters_are_listed_page_by_page_oldest_first(queue):
    queue.add_shards([shard("a")])
    lease = queue.acquire("w")
    rejects = [Reject(ordinal=ordinal, reason="broken") for ordinal in range(450)]
    queue.commit(lease, CommitBatch(cursor=Cursor(450, 1), rejects=rejects))
    letters = list(queue.dead_letters())
    assert [letter.sample.ordinal for letter in letters] == list(range(450))
    assert next(iter(queue.dead_letters(after=letters[9].letter_id))) == letters[10]


def test_a_letter_that_names_no_sample_cannot_be_replayed(queue):
    queue.edge.client.xadd(queue.keys.labels, {"m": b"garbage"})
    queue.raise_epoch()
    (nameless,) = queue.read("r", count=1)
    queue.dead_letter(nameless, reason="undecodable")
    letters = list(queue.dead_letters())
    assert queue.replay(letters).refused == (letters[0].letter_id,)
    assert len(list(queue.dead_letters())) == 1


def test_a_message_no_trainer_can_read_is_labelled_again_when_it_is_replayed(queue, held):
    queue.dead_letter(held[0], reason="message_invalid")
    assert queue.replay(list(queue.dead_letters())).to_relabel == 1
    (work,) = queue.take_relabels("w", count=5).work
    assert (work.sample, work.message) == (held[0].sample, None)
    assert queue.audit(TrainedLedger()).ok


def test_a_replayed_sample_may_be_relabelled_as_often_as_a_new_one(open_queue):
    queue = open_queue(max_relabels=1)
    fill(queue, labels=1)
    queue.raise_epoch()
    queue.give_back(queue.read("r", count=1), reason="stale")
    work = queue.take_relabels("w", count=1)
    queue.commit_relabels(work, labels=[label(work.work[0].sample)])
    (again,) = queue.read("r", count=1)
    assert queue.give_back([again], reason="stale").exhausted
    queue.dead_letter(again, reason="relabels_exhausted")
    assert queue.replay(list(queue.dead_letters())).to_stream == 1
    (replayed,) = queue.read("r", count=1)
    assert queue.give_back([replayed], reason="stale").moved == 1


def test_of_two_letters_of_one_sample_only_one_is_taken_off_the_shards_count(queue, held):
    queue.edge.client.xadd(queue.keys.labels, {"s": str(held[0].sample), "m": b"again"})
    (second,) = queue.read("r", count=1)
    queue.dead_letter(held[0], reason="x")
    queue.dead_letter(held[1], reason="x")
    queue.dead_letter(second, reason="x")
    (row,) = queue.shard_rows()
    assert row.dead == {"x": 2}
    letters = [letter for letter in queue.dead_letters() if letter.sample == held[0].sample]
    assert queue.replay(letters).to_stream == 2
    (row,) = queue.shard_rows()
    assert row.dead == {"x": 1}


def test_a_list_leaves_the_messages_in_redis_and_ends_where_it_is_told_to(queue, held):
    for delivery in held:
        queue.dead_letter(delivery, reason="x")
    client = queue.edge.client
    client.xadd(queue.keys.dead, {"s": "0:a:9", "m": bytes(2**20), "reason": "x", "side": "trainer"})
    sent = client.info("stats")["total_net_output_bytes"]
    *letters, big = queue.dead_letters()
    assert client.info("stats")["total_net_output_bytes"] - sent < 2**19
    assert big.message_bytes == 2**20
    assert queue.newest_dead_letter() == big.letter_id
    assert list(queue.dead_letters(until=letters[1].letter_id)) == letters[:2]
    assert [letter.message_bytes for letter in letters] == [delivery.size_bytes for delivery in held]
    assert decode(queue.dead_message(letters[0].letter_id)) == held[0].message
    assert queue.dead_message("1-1") is None


def test_there_is_no_newest_letter_before_the_first(queue):
    assert queue.newest_dead_letter() is None
    assert list(queue.dead_letters()) == []
