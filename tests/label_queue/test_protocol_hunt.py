"""Faults of the protocol that were found by looking for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from queue_examples import all_labels, fill, label, shard

from xpm_stream.label_queue import LabelQueue, TrainedLedger
from xpm_stream.label_queue.auditing import Auditing


def resent(queue: LabelQueue, script: str, *, answer: int) -> None:
    """Run a script twice, as a connection cut in between does; the client sees the first (0) or second (1) answer."""
    plain = queue.edge.run

    def run(name: str, **options: Any) -> Any:
        answers = [plain(name, **options) for _ in range(2 if name == script else 1)]
        return answers[min(answer, len(answers) - 1)]

    queue.edge.run = run  # type: ignore[method-assign]


def test_the_audit_finds_nothing_missing_while_a_trainer_gives_labels_back(
    queue: LabelQueue, open_queue: Callable[..., LabelQueue], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(queue, labels=60)
    trainer = open_queue()
    trainer.raise_epoch()
    deliveries = trainer.read("rank0", count=60)
    listing = Auditing._relabel_samples

    def trainer_goes_on(self: Auditing) -> Any:
        found = listing(self)
        trainer.give_back([deliveries.pop()], reason="stale")
        return found

    monkeypatch.setattr(Auditing, "_relabel_samples", trainer_goes_on)
    report = queue.audit(TrainedLedger())
    assert report.ok, report.problems()


def test_the_audit_finds_nothing_missing_while_dead_letters_are_replayed(
    queue: LabelQueue, open_queue: Callable[..., LabelQueue], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(queue, labels=4)
    operator = open_queue()
    queue.raise_epoch()
    for delivery in queue.read("rank0", count=4):
        queue.dead_letter(delivery, reason="image_broken")
    bitmaps = Auditing._bitmaps

    def operator_was_faster(self: Auditing, shard_keys: list[str]) -> Any:
        operator.replay(list(operator.dead_letters()))
        return bitmaps(self, shard_keys)

    monkeypatch.setattr(Auditing, "_bitmaps", operator_was_faster)
    report = queue.audit(TrainedLedger())
    assert report.ok, report.problems()


def test_a_raise_of_the_epoch_that_arrives_twice_fences_nobody(queue: LabelQueue) -> None:
    fill(queue, labels=1)
    resent(queue, "raise_epoch", answer=0)
    queue.raise_epoch()
    assert len(queue.read("rank0", count=1)) == 1


def test_a_late_copy_of_the_raise_does_not_say_that_a_finished_run_goes_on(queue: LabelQueue) -> None:
    plain, sent = queue.edge.run, {}

    def run(name: str, **options: Any) -> Any:
        sent[name] = options
        return plain(name, **options)

    queue.edge.run = run  # type: ignore[method-assign]
    queue.raise_epoch()
    assert queue.finish(checkpoint="c", step=1, drained=False)
    assert int(plain("raise_epoch", **sent["raise_epoch"])) == 1
    assert queue.corpus_progress().finish is not None


def test_relabel_work_taken_twice_by_one_request_is_leased_once(
    queue: LabelQueue, open_queue: Callable[..., LabelQueue]
) -> None:
    fill(queue, labels=4)
    queue.raise_epoch()
    queue.give_back(queue.read("rank0", count=4), reason="stale")
    labeler = open_queue()
    resent(labeler, "take_relabels", answer=1)
    first = labeler.take_relabels("labeler-0", count=2)
    assert first is not None
    second = open_queue().take_relabels("labeler-1", count=2)
    assert second is not None
    assert not {work.sample for work in first.work} & {work.sample for work in second.work}


def every_script_twice(queue: LabelQueue) -> None:
    plain = queue.edge.run

    def run(name: str, **options: Any) -> Any:
        plain(name, **options)
        return plain(name, **options)

    queue.edge.run = run  # type: ignore[method-assign]


def test_with_every_request_sent_twice_all_adds_up(queue: LabelQueue, open_queue: Callable[..., LabelQueue]) -> None:
    labeler, trainer = open_queue(), open_queue(max_attempts=2)
    every_script_twice(labeler)
    every_script_twice(trainer)
    labeler.add_shards([shard("a"), shard("b")])
    ledger = TrainedLedger()
    trainer.raise_epoch()
    trainer.settle(ledger)
    for _ in range(2):
        lease = labeler.acquire("labeler-0")
        assert lease is not None
        lease = labeler.commit(lease, all_labels(lease, 10))
        lease = labeler.commit(lease, all_labels(lease, 20, finished=True))
        assert lease.finished
    deliveries = trainer.read("rank0", count=40)
    assert len({delivery.sample for delivery in deliveries}) == len(deliveries) == 40
    assert trainer.give_back(deliveries[:8], reason="stale").exhausted == ()
    trainer.dead_letter(deliveries[8], reason="image_broken")
    failed = trainer.fail(deliveries[9], reason="image_unavailable")
    assert failed is not None
    assert trainer.fail(failed, reason="image_unavailable") is None
    for delivery in deliveries[10:]:
        assert delivery.sample is not None
        ledger.add(delivery.sample)
    trainer.acknowledge(deliveries[10:])
    while work := labeler.take_relabels("labeler-0", count=3):
        labeler.commit_relabels(work, labels=[label(one.sample) for one in work.work])
    every_script_twice(queue)
    queue.replay(list(queue.dead_letters())[:1])
    again = trainer.read("rank0", count=40)
    assert len(again) == 9
    for delivery in again:
        assert delivery.sample is not None
        assert ledger.add(delivery.sample)
    trainer.acknowledge(again)
    report, stats = queue.audit(ledger), queue.stats()
    assert report.ok, report.problems()
    assert report.totals()["trained"] == 39
    assert report.totals()["dead"] == stats.dead_letters == sum(stats.dead.values()) == 1
    assert (stats.unacked_labels, stats.unacked_bytes, stats.relabels, stats.relabel_bytes) == (0, 0, 0, 0)
