"""The audit finds what is missing and what is doubled, on every redis-server there is."""

from queue_examples import all_labels, fill, label, shard

from xpm_stream.label_queue import TrainedLedger


def ledger_of(*samples):
    ledger = TrainedLedger()
    for sample in samples:
        ledger.add(sample)
    return ledger


def test_a_label_deleted_behind_our_back_is_missing_and_named(queue):
    fill(queue, labels=4)
    entry_id, _ = queue.edge.client.xrange(queue.keys.labels)[2]
    queue.edge.client.xdel(queue.keys.labels, entry_id)
    report = queue.audit(ledger_of())
    assert not report.ok
    assert report.missing == 1
    assert report.problems() == ["shard file:///shards/a.tar (pass:id 0:a): missing samples 2"]


def test_a_label_written_twice_is_doubled(queue):
    fill(queue, labels=2)
    _, fields = queue.edge.client.xrange(queue.keys.labels)[1]
    queue.edge.client.xadd(queue.keys.labels, fields)
    report = queue.audit(ledger_of())
    assert (report.doubled, report.ok) == (1, False)
    assert "twice 1" in report.problems()[0]


def test_trained_labels_waiting_for_their_acknowledgement_are_unsettled_not_doubled(queue):
    fill(queue, labels=3)
    report = queue.audit(ledger_of(shard("a").sample(0)))
    assert report.ok
    assert report.totals()["unsettled"] == 1
    assert (report.rows[0].trained, report.rows[0].queued) == (1, 2)


def test_the_ledger_is_loaded_after_the_queue_was_looked_at(queue):
    fill(queue, labels=2)
    queue.raise_epoch()
    held = queue.read("r", count=2)

    def newest_checkpoint():
        queue.acknowledge(held)  # what a trainer may do while we look
        return ledger_of(*(delivery.sample for delivery in held))

    assert queue.audit(newest_checkpoint).ok


def test_shards_are_reported_in_the_order_of_adding_with_their_state(queue):
    queue.add_shards([shard(name) for name in "zab"])
    lease = queue.acquire("w")
    queue.commit(lease, all_labels(lease, 2, finished=True))
    queue.acquire("w")
    rows = queue.audit(ledger_of()).rows
    assert [(row.shard_key, row.state, row.samples) for row in rows] == [
        ("0:z", "finished", 2),
        ("0:a", "leased", 0),
        ("0:b", "pending", 0),
    ]


def test_trained_samples_of_shards_an_empty_redis_does_not_know_are_told(queue):
    assert queue.audit(ledger_of(shard("gone").sample(0))).unknown_trained == 1


def test_a_queue_is_drained_when_nothing_waits(queue):
    assert queue.stats().drained
    queue.add_shards([shard("a")])
    assert not queue.stats().drained
    lease = queue.acquire("w")
    queue.commit(lease, all_labels(lease, 1, finished=True))
    assert not queue.stats().drained
    queue.raise_epoch()
    queue.acknowledge(queue.read("r", count=1))
    assert queue.stats().drained


def test_stats_tell_the_age_of_the_oldest_label(queue):
    assert queue.stats().oldest_label_age_s is None
    fill(queue, labels=1)
    assert 0 <= queue.stats().oldest_label_age_s < 60


def test_audit_reads_more_shards_and_entries_than_fit_a_page(queue):
    queue.add_shards([shard(f"s{number:03}") for number in range(230)])
    for _ in range(3):
        lease = queue.acquire("w")
        queue.commit(lease, all_labels(lease, 300, finished=True))
    report = queue.audit(ledger_of())
    assert len(report.rows) == 230
    assert report.totals()["queued"] == 900


def test_relabel_work_that_is_also_on_the_stream_is_doubled(queue):
    fill(queue, labels=3)
    _, fields = queue.edge.client.xrange(queue.keys.labels)[1]
    queue.raise_epoch()
    queue.give_back(queue.read("r", count=3)[1:2], reason="stale")
    queue.edge.client.xadd(queue.keys.labels, fields)
    report = queue.audit(ledger_of())
    assert (report.doubled, report.in_motion) == (1, False)
    assert "twice 1" in report.problems()[0]


def test_relabel_work_that_a_labeler_commits_meanwhile_is_not_doubled(queue, open_queue, monkeypatch):
    fill(queue, labels=3)
    queue.raise_epoch()
    queue.give_back(queue.read("r", count=3), reason="stale")
    labeler = open_queue()
    entries = queue.entries

    def labeler_was_faster():
        if work := labeler.take_relabels("w", count=1):
            labeler.commit_relabels(work, labels=[label(one.sample) for one in work.work])
        return entries()

    monkeypatch.setattr(queue, "entries", labeler_was_faster)
    report = queue.audit(ledger_of())
    assert report.ok, report.problems()
    assert (report.totals()["queued"], report.totals()["relabels"], report.in_motion) == (1, 2, False)


def test_what_is_missing_is_found_though_the_queue_never_rests(queue, open_queue, monkeypatch):
    fill(queue, labels=60)
    entry_id, _ = queue.edge.client.xrange(queue.keys.labels)[7]
    queue.edge.client.xdel(queue.keys.labels, entry_id)
    trainer = open_queue()
    trainer.raise_epoch()
    deliveries = trainer.read("r", count=60)
    entries = queue.entries

    def trainer_goes_on():
        trainer.give_back([deliveries.pop()], reason="stale")
        return entries()

    monkeypatch.setattr(queue, "entries", trainer_goes_on)
    report = queue.audit(ledger_of())
    assert report.in_motion
    assert report.problems() == ["shard file:///shards/a.tar (pass:id 0:a): missing samples 7"]
    assert sum(report.totals()[name] for name in ("queued", "relabels", "missing")) == 60


def test_a_label_that_comes_back_while_the_stream_is_read_is_not_called_doubled(queue, open_queue, monkeypatch):
    fill(queue, labels=40)
    trainer = open_queue()
    trainer.raise_epoch()
    deliveries = trainer.read("r", count=40)
    entries = queue.entries

    def comes_back():
        for entry in entries():
            yield entry
            if entry.entry_id == deliveries[-1].entry_id:  # seen: now it goes round, and to the end of the stream
                trainer.give_back([deliveries.pop()], reason="stale")
                work = trainer.take_relabels("w", count=1)
                trainer.commit_relabels(work, labels=[label(one.sample) for one in work.work])

    monkeypatch.setattr(queue, "entries", comes_back)
    report = queue.audit(ledger_of())
    assert report.in_motion
    assert report.ok, report.problems()
