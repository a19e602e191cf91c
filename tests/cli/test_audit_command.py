"""`xpm-stream audit`: its exit status is what scripts go by, and it names what does not add up."""

from __future__ import annotations

from pathlib import Path

from asking import Ask

from xpm_stream.label_queue import CommitBatch, Cursor, EncodedLabel, LabelQueue, ShardRecord
from xpm_stream.records import ShardId

SAMPLES = 4


def _commit_labels(queue: LabelQueue) -> None:
    """Four labels of one shard, which nobody has to decode here."""
    queue.add_shards([ShardRecord(url="file:///shards/a.tar", shard_id=ShardId("a"))])
    lease = queue.acquire("labeler-0")
    assert lease is not None
    labels = [EncodedLabel(sample=lease.shard.sample(ordinal), data=b"label") for ordinal in range(SAMPLES)]
    queue.commit(lease, CommitBatch(cursor=Cursor(SAMPLES, 512), labels=labels, finished=True))


def test_where_nothing_is_missing_it_ends_with_status_0(ask: Ask, folder: Path, queue: LabelQueue) -> None:
    _commit_labels(queue)
    answer = ask("audit", folder)
    assert answer.status == 0
    assert "everything adds up" in answer.out


def test_where_a_sample_is_missing_it_names_it_and_ends_with_status_1(
    ask: Ask, folder: Path, queue: LabelQueue
) -> None:
    _commit_labels(queue)
    entry_id, _ = queue.edge.client.xrange(queue.keys.labels)[2]
    queue.edge.client.xdel(queue.keys.labels, entry_id)
    answer = ask("audit", folder)
    assert answer.status == 1
    assert "does not add up" in answer.out
    assert "file:///shards/a.tar (pass:id 0:a): missing samples 2" in answer.out
    assert "everything adds up" not in answer.out
