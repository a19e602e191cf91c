"""The mark by which labelers know that the trainer has left for good."""

import pytest
from queue_examples import all_labels, fill, shard

from xpm_stream.errors import EpochFenced
from xpm_stream.label_queue import CommitBatch, FinishMark


def finish_first_shard(queue):
    lease = fill(queue, labels=2)
    queue.commit(lease, CommitBatch(cursor=lease.cursor, finished=True))
    queue.raise_epoch()
    held = queue.read("r", count=2)
    queue.acknowledge(held)


def leased(queue):
    queue.add_shards([shard("b")])
    return queue.acquire("w")


def one_label(queue):
    lease = leased(queue)
    lease = queue.commit(lease, all_labels(lease, 1))
    queue.commit(lease, CommitBatch(cursor=lease.cursor, finished=True))


def one_to_relabel(queue):
    one_label(queue)
    queue.give_back(queue.read("r", count=1), reason="stale")


@pytest.mark.parametrize(
    "leave",
    [
        lambda queue: queue.add_shards([shard("b")]),
        leased,
        one_label,
        one_to_relabel,
        lambda queue: queue.watch("s3://bucket/*.tar"),
    ],
    ids=["pending", "leased", "queued", "relabel", "watched"],
)
def test_a_run_in_which_anything_is_left_is_not_marked_as_drained(queue, leave):
    finish_first_shard(queue)
    leave(queue)
    assert not queue.finish(checkpoint="c", step=7, drained=True)
    assert queue.corpus_progress().finish is None
    assert queue.finish(checkpoint="c", step=7, drained=False)
    assert queue.corpus_progress().finish == FinishMark(checkpoint="c", step=7)


def test_the_mark_of_a_finished_run_stays_until_another_trainer_starts(queue, open_queue):
    finish_first_shard(queue)
    assert queue.finish(checkpoint="", step=0, drained=True)
    assert queue.finish(checkpoint="student-e1-c00002-s8", step=8, drained=True)
    other = open_queue()
    mark = FinishMark(checkpoint="student-e1-c00002-s8", step=8)
    other.add_shards([shard("b")])
    assert other.corpus_progress().finish == mark
    other.raise_epoch()
    assert other.corpus_progress().finish is None
    with pytest.raises(EpochFenced):
        queue.finish(checkpoint="late", step=9, drained=False)
    assert other.corpus_progress().finish is None
