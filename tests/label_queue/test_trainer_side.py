"""Epochs, reading and acknowledging, on every redis-server there is."""

import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import pytest
from queue_examples import all_labels, copy_of_redis, fill, label, restore_redis, shard

from xpm_stream.errors import EpochFenced, MessageError, QueueRefused
from xpm_stream.label_queue import TrainedLedger


def ordinals(deliveries):
    return [delivery.sample.ordinal for delivery in deliveries]


def ledger_of(*samples):
    ledger = TrainedLedger()
    for sample in samples:
        ledger.add(sample)
    return ledger


def test_labels_written_before_the_first_trainer_are_read_too(queue):
    lease = fill(queue, labels=3)
    queue.raise_epoch()
    found = queue.read("r", count=10)
    assert [delivery.message for delivery in found] == [label(lease.shard.sample(n)) for n in range(3)]
    assert {delivery.deliveries for delivery in found} == {1}
    assert queue.read("r", count=10) == []


def test_ranks_share_the_stream(queue, open_queue):
    fill(queue, labels=6)
    second = open_queue()
    second.join_epoch(queue.raise_epoch())
    assert ordinals(queue.read("rank0", count=4)) == [0, 1, 2, 3]
    assert ordinals(second.read("rank1", count=4)) == [4, 5]


def test_a_read_waits_for_the_next_label(queue, open_queue):
    labeler = open_queue()
    queue.raise_epoch()
    writer = threading.Timer(0.05, fill, args=(labeler,), kwargs={"labels": 1})
    writer.start()
    started_s = time.monotonic()
    assert len(queue.read("r", count=5, block_ms=20_000)) == 1
    assert time.monotonic() - started_s < 10
    writer.join()


def test_a_read_of_an_empty_queue_ends(queue):
    queue.raise_epoch()
    assert queue.read("r", count=5, block_ms=30) == []


def test_without_an_epoch_nothing_can_be_read(queue):
    with pytest.raises(EpochFenced, match="raise_epoch"):
        queue.read("r", count=1)


def test_acknowledged_labels_are_deleted_and_acknowledging_again_is_harmless(queue):
    fill(queue, labels=5)
    queue.raise_epoch()
    found = queue.read("r", count=3)
    assert queue.acknowledge(found) == 3
    assert queue.acknowledge(found) == 0
    stats = queue.stats()
    assert (stats.unacked_labels, stats.delivered_labels, stats.labels_acknowledged) == (2, 0, 3)


def test_thousands_are_acknowledged_in_one_call(queue):
    fill(queue, labels=2500)
    queue.raise_epoch()
    assert queue.acknowledge(queue.read("r", count=2500)) == 2500
    assert queue.stats().unacked_bytes == 0


def test_a_newer_trainer_fences_the_older_one_from_everything(queue, open_queue):
    fill(queue, labels=4)
    assert queue.raise_epoch() == 1
    held = queue.read("r", count=2)
    newer = open_queue()
    assert newer.raise_epoch() == 2
    for write in (
        lambda: queue.read("r", count=1),
        lambda: queue.acknowledge(held),
        lambda: queue.give_back(held, reason="stale"),
        lambda: queue.dead_letter(held[0], reason="broken"),
        lambda: queue.fail(held[0], reason="broken"),
        lambda: queue.settle(ledger_of(held[0].sample)),
        lambda: queue.join_epoch(1),
    ):
        with pytest.raises(EpochFenced):
            write()
    stats = newer.stats()
    assert (stats.unacked_labels, stats.relabels, stats.dead_letters) == (4, 0, 0)


def test_a_new_trainer_is_handed_what_the_old_one_held_before_anything_new(queue, open_queue):
    fill(queue, labels=6)
    queue.raise_epoch()
    queue.read("rank0", count=2)
    queue.read("rank1", count=2)
    newer = open_queue()
    newer.raise_epoch()
    found = newer.read("rank0", count=5)
    assert sorted(ordinals(found)[:4]) == [0, 1, 2, 3]
    assert [delivery.deliveries for delivery in found] == [2, 2, 2, 2, 1]
    assert ordinals(newer.read("rank0", count=5)) == [5]


def test_reclaiming_leaves_new_labels_and_other_ranks_alone(queue, open_queue):
    fill(queue, labels=6)
    queue.raise_epoch()
    queue.read("rank0", count=2)
    newer, second = open_queue(), open_queue()
    second.join_epoch(newer.raise_epoch())
    assert ordinals(newer.reclaim("rank0", count=1)) == [0]
    assert ordinals(second.reclaim("rank1", count=9)) == [1]
    assert newer.reclaim("rank0", count=9) == []


def test_fewer_ranks_take_over_from_more(queue, open_queue):
    fill(queue, labels=9)
    epoch = queue.raise_epoch()
    for rank in range(3):
        other = open_queue()
        other.join_epoch(epoch)
        other.read(f"rank{rank}", count=3)
    alone = open_queue()
    alone.raise_epoch()
    assert sorted(ordinals(alone.read("rank0", count=20))) == list(range(9))


def test_the_epoch_never_counts_backwards_from_the_checkpoints(queue):
    assert queue.raise_epoch(at_least=41) == 42
    assert queue.raise_epoch(at_least=3) == 43


def test_deliveries_swallowed_by_a_cut_connection_are_handed_out_by_a_later_read(queue):
    fill(queue, labels=5)
    queue.raise_epoch()
    assert ordinals(queue.read("r", count=1)) == [0]
    queue._read_script("r", count=2)  # Redis hands out 1 and 2; nobody hears of it
    assert sorted(ordinals(queue.read("r", count=1))) == [1, 2, 3]
    assert ordinals(queue.read("r", count=9)) == [4]


def test_entries_deleted_by_somebody_else_do_not_confuse_the_reader(queue):
    fill(queue, labels=3)
    queue.raise_epoch()
    held = queue.read("r", count=2)
    queue.edge.client.xdel(queue.keys.labels, held[0].entry_id)
    queue._outstanding["r"].clear()
    assert sorted(ordinals(queue.read("r", count=1))) == [1, 2]
    assert queue.read("r", count=1) == []


def test_a_message_that_cannot_be_decoded_is_delivered_as_its_error(queue):
    lease = fill(queue, labels=1)
    queue.edge.client.xadd(queue.keys.labels, {"s": str(lease.shard.sample(7)), "m": b"\xc1garbage"})
    queue.edge.client.xadd(queue.keys.labels, {"nonsense": b"1"})
    queue.raise_epoch()
    _, garbage, nonsense = queue.read("r", count=5)
    assert isinstance(garbage.message, MessageError)
    assert garbage.sample == lease.shard.sample(7)
    assert isinstance(nonsense.message, MessageError)
    assert nonsense.sample is None
    queue.dead_letter(nonsense, reason="undecodable")
    assert queue.audit(ledger_of()).unidentified == 0


def test_a_message_under_another_samples_name_is_an_error(queue):
    fill(queue, labels=1)
    (entry,) = queue.edge.client.xrange(queue.keys.labels)
    queue.edge.client.xadd(queue.keys.labels, {"s": "0:a:9", "m": entry[1][b"m"]})
    queue.raise_epoch()
    wrong = queue.read("r", count=5)[1]
    assert "entry is of sample 0:a:9" in str(wrong.message)


def test_settling_acknowledges_what_the_checkpoint_trained_delivered_or_not(queue, open_queue):
    fill(queue, labels=5)
    queue.raise_epoch()
    trained = ledger_of(*(delivery.sample for delivery in queue.read("r", count=2)), shard("a").sample(4))
    newer = open_queue()
    newer.raise_epoch()
    settled = newer.settle(trained)
    assert (settled.acknowledged, settled.returned) == (3, 0)
    assert sorted(ordinals(newer.read("r", count=9))) == [2, 3]
    assert newer.audit(trained).ok


def test_a_redis_older_than_the_checkpoint_trains_nothing_twice(queue, open_queue):
    lease = fill(queue, labels=4)
    queue.raise_epoch()
    copy = copy_of_redis(queue.edge.client, queue.keys.namespace)
    queue.acknowledge(found := queue.read("r", count=4))
    trained = ledger_of(*(delivery.sample for delivery in found), lease.shard.sample(4), lease.shard.sample(5))
    restore_redis(queue.edge.client, queue.keys.namespace, copy)

    report = queue.audit(trained)
    assert report.ok
    assert (report.totals()["unsettled"], report.totals()["ahead"]) == (4, 2)
    newer = open_queue()
    newer.raise_epoch(at_least=1)
    assert newer.settle(trained).acknowledged == 4
    assert newer.read("r", count=9) == []
    assert newer.audit(trained).ok


def test_a_trainer_whose_redis_went_back_before_its_epoch_must_start_again(queue):
    fill(queue, labels=1)
    copy = copy_of_redis(queue.edge.client, queue.keys.namespace)
    queue.raise_epoch()
    restore_redis(queue.edge.client, queue.keys.namespace, copy)
    with pytest.raises(EpochFenced, match="restored from an older copy"):
        queue.read("r", count=1)


def test_a_trainer_of_before_a_rollback_is_fenced_even_from_an_epoch_of_the_same_number(queue, open_queue):
    fill(queue, labels=1)
    copy = copy_of_redis(queue.edge.client, queue.keys.namespace)
    assert queue.raise_epoch() == 1
    restore_redis(queue.edge.client, queue.keys.namespace, copy)
    assert open_queue().raise_epoch() == 1
    with pytest.raises(EpochFenced):
        queue.read("r", count=1)


def test_samples_that_only_a_lost_checkpoint_had_are_labelled_again(queue, open_queue):
    fill(queue, labels=4)
    queue.raise_epoch()
    queue.acknowledge(queue.read("r", count=3))
    older = ledger_of(shard("a").sample(0))
    assert queue.audit(older).missing == 2
    newer = open_queue()
    newer.raise_epoch()
    assert newer.settle(older).returned == 2
    assert newer.settle(older).returned == 0
    assert newer.audit(older).ok
    work = newer.take_relabels("w", count=9).work
    assert [one.sample.ordinal for one in work] == [1, 2]
    assert work[0].message is None
    assert work[0].shard == shard("a")
    assert work[0].reason == "not_in_checkpoint"


def test_relabel_work_the_checkpoint_has_trained_is_dropped(queue, open_queue):
    fill(queue, labels=2)
    queue.raise_epoch()
    queue.give_back(found := queue.read("r", count=1), reason="stale")
    trained = ledger_of(found[0].sample)
    newer = open_queue()
    newer.raise_epoch()
    newer.settle(trained)
    stats = newer.stats()
    assert (stats.relabels, stats.relabel_bytes) == (0, 0)
    assert newer.take_relabels("w", count=1) is None


def test_acknowledging_works_when_redis_is_out_of_memory_and_committing_does_not(queue, open_queue):
    lease = fill(queue, labels=200)
    client = queue.edge.client
    labeler = open_queue(retry_for_s=0.2)
    queue.raise_epoch()
    try:
        client.config_set("maxmemory", 1)
        with pytest.raises(QueueRefused, match=r"out of memory.*maxmemory"):
            labeler.commit(lease, all_labels(lease, 201))
        trainer = open_queue()
        trainer.raise_epoch()
        found = trainer.read("r", count=200)
        trainer.dead_letter(found[0], reason="broken")
        assert trainer.acknowledge(found[1:]) == 199
    finally:
        client.config_set("maxmemory", 0)
    assert labeler.commit(lease, all_labels(lease, 201)).cursor.ordinal == 201
    assert labeler.stats().unacked_labels == 1


def test_a_trainer_without_its_last_checkpoint_starts_when_redis_is_out_of_memory(queue, open_queue):
    fill(queue, labels=6)
    queue.raise_epoch()
    held = queue.read("r", count=6)
    queue.acknowledge(held[:4])  # in a checkpoint that is lost
    client = queue.edge.client
    trainer = open_queue(retry_for_s=0.2)
    try:
        client.config_set("maxmemory", 1)
        trainer.raise_epoch()
        assert trainer.settle(ledger_of()).returned == 4
        again = trainer.read("r", count=6)
        assert trainer.try_alone("r", again[0]) == "alone"
        trainer.end_trial("r", again[0], trained=True)
        assert trainer.acknowledge(again) == 2
    finally:
        client.config_set("maxmemory", 0)
    assert trainer.stats().relabels == 4


def test_a_label_is_handed_out_once_while_another_thread_gives_back_and_acknowledges(queue):
    fill(queue, labels=1500)
    queue.raise_epoch()
    seen, waiting, done = [], deque(), threading.Event()

    def settle():
        while not (done.is_set() and not waiting):
            if waiting:
                delivery = waiting.popleft()
                if delivery.sample.ordinal % 2:
                    queue.give_back([delivery], reason="stale")
                else:
                    queue.acknowledge([delivery])

    with ThreadPoolExecutor(1) as pool:
        settling = pool.submit(settle)
        while found := queue.read("rank0", count=3):
            seen += found
            waiting.extend(found)
        done.set()
        settling.result()
    assert sorted(ordinals(seen)) == list(range(1500))


def test_settling_looks_again_when_a_dead_letter_is_replayed_meanwhile(queue, open_queue, monkeypatch):
    fill(queue, labels=3)
    queue.raise_epoch()
    first, second, _ = queue.read("r", count=3)
    queue.dead_letter(first, reason="broken")
    queue.acknowledge([second])  # in a checkpoint that is lost
    newer = open_queue()
    newer.raise_epoch()
    places = newer._places

    def replayed_just_before(snapshot):
        queue.replay(list(queue.dead_letters()))
        return places(snapshot)

    monkeypatch.setattr(newer, "_places", replayed_just_before)
    assert newer.settle(ledger_of()).returned == 1
    report = newer.audit(ledger_of())
    assert report.ok, report.problems()
    assert report.totals()["relabels"] == 1
