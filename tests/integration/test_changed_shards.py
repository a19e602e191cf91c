"""Shards that are rewritten or vanish while a run works on them: no sample is taken for another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from stub_runs import MakeStubRun, StubRun

from benchmarks.stub.corpus import write_stub_shard
from xpm_stream.label_queue import LabelQueue, ShardRow
from xpm_stream.stages.shard_registration import add_shards

pytestmark = pytest.mark.slow
QueueOf = Callable[[StubRun], LabelQueue]


def test_an_image_that_was_rewritten_after_it_was_labelled_is_not_trained(
    stub_run: MakeStubRun, queue_of: QueueOf
) -> None:
    run = stub_run(shards=2, samples_per_shard=100, queue={"max_unacked_labels": 1000})
    first, second = sorted(Path(run.config.data.shards[0]).parent.glob("*.tar"))
    content = second.read_bytes()
    second.unlink()
    queue = queue_of(run)
    run.start("promote")
    run.start("label")
    run.until(lambda: queue.stats().shards_finished, what="labels")
    first.write_bytes(content)  # sample 100 + i where sample i was
    run.start("train").join(60)
    assert run.trained() == 0, "samples 0-99 were labelled; 100-199 are in the weights"
    assert queue.stats().dead == {"image_changed": 90}
    assert all(str(first) in letter.detail for letter in queue.dead_letters())


def _hold_labeler_at_first_shard(run: StubRun, queue: LabelQueue) -> None:
    """Start a labeler that waits for room in the first shard, so that the second stays pending."""
    run.start("promote")
    run.start("label")
    run.until(lambda: queue.capacity().labels_left <= 0, what="a full budget")


def _make_room(queue: LabelQueue) -> None:
    queue.raise_epoch()
    queue.acknowledge(queue.read("test", count=1000))


@pytest.mark.parametrize("named", [True, False])
def test_a_shard_rewritten_before_it_is_read_is_not_read_under_its_old_name(
    stub_run: MakeStubRun, queue_of: QueueOf, named: bool
) -> None:
    run = stub_run(shards=2, samples_per_shard=100, queue={"max_unacked_labels": 64})
    first, second = sorted(Path(run.config.data.shards[0]).parent.glob("*.tar"))
    if not named:  # but added by a person, as by `shards add`
        data = run.config.data.model_copy(update={"shards": [str(first)]})
        run.config = run.config.model_copy(update={"data": data})
    queue = queue_of(run)
    _hold_labeler_at_first_shard(run, queue)
    add_shards(run.config, [str(second)])
    old = next(row for row in queue.shard_rows() if row.url.endswith(second.name))
    write_stub_shard(second, first=100, samples=50)
    _make_room(queue)

    def outcome() -> ShardRow | None:
        _make_room(queue)
        return next((row for row in queue.shard_rows() if row.key == old.key and row.state == "failed"), None)

    failed = run.until(outcome, what="the old shard's failure")
    assert "was rewritten after it was added" in (failed.note or "")
    assert (failed.ordinal, failed.labels) == (0, 0)
    new = [row for row in queue.shard_rows() if row.url == old.url and row.key != old.key]
    if named:
        assert [row.pass_index for row in new] == [0]
        run.until(lambda: _make_room(queue) or queue.stats().shards_finished == 2, what="labels of the new shard")
        assert next(row for row in queue.shard_rows() if row.key == new[0].key).ordinal == 50
    else:
        assert new == []
        assert "xpm-stream shards add" in (failed.note or "")
        assert add_shards(run.config, [str(second)]) == (1, 1)
        run.until(lambda: _make_room(queue) or queue.stats().shards_finished == 2, what="labels of the new shard")


def test_a_shard_that_is_gone_when_its_turn_comes_has_failed_at_once(stub_run: MakeStubRun, queue_of: QueueOf) -> None:
    run = stub_run(shards=2, samples_per_shard=100, queue={"max_unacked_labels": 64})
    second = sorted(Path(run.config.data.shards[0]).parent.glob("*.tar"))[1]
    queue = queue_of(run)
    _hold_labeler_at_first_shard(run, queue)
    second.unlink()
    run.until(lambda: _make_room(queue) or queue.stats().shards_failed, what="the failure")
    (failed,) = [row for row in queue.shard_rows() if row.state == "failed"]
    assert "does not exist" in (failed.note or "")
    assert run.log("label", "shard put off") == []
