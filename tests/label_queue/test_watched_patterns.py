"""Patterns the labelers look at again and again, kept in Redis; and what a labeler asks for before it ends."""

import msgspec
from queue_examples import all_labels, fill, shard

from xpm_stream.label_queue import CommitBatch, Cursor, TrainedLedger


def test_watched_patterns_are_seen_by_every_process_until_the_watch_is_ended(queue, open_queue):
    assert queue.watch("s3://bucket/b/*.tar")
    assert queue.watch("s3://bucket/ä/*.tar")
    assert not queue.watch("s3://bucket/b/*.tar")
    other = open_queue()
    assert list(other.watched()) == ["s3://bucket/b/*.tar", "s3://bucket/ä/*.tar"]
    assert other.stats().watched == other.corpus_progress().watched == 2
    assert other.unwatch("s3://bucket/b/*.tar")
    assert not other.unwatch("s3://bucket/b/*.tar")
    assert list(queue.watched()) == ["s3://bucket/ä/*.tar"]


def test_a_labeler_sees_whether_anything_is_left(queue):
    assert queue.corpus_progress().drained
    lease = fill(queue, labels=2)
    assert not queue.corpus_progress().drained
    queue.commit(lease, CommitBatch(cursor=lease.cursor, finished=True))
    progress = queue.corpus_progress()
    assert (progress.shards_finished, progress.shards_failed, progress.drained) == (1, 0, False)
    queue.raise_epoch()
    queue.acknowledge(queue.read("r", count=2))
    assert queue.corpus_progress().drained
    queue.add_shards([shard("b")])
    assert not queue.corpus_progress().drained
    queue.fail_shard(queue.acquire("w"), reason="gone")
    progress = queue.corpus_progress()
    assert (progress.shards_finished, progress.shards_failed, progress.drained) == (1, 1, True)


def test_only_unknown_shards_need_to_be_looked_at(queue):
    many = [shard(f"s{number}") for number in range(1200)]
    queue.add_shards(many[::2])
    assert queue.unknown_shards(many) == many[1::2]
    assert queue.shard_row("0:s0").record == many[0]
    assert queue.shard_row("0:s1") is None


def test_a_shard_that_gives_fewer_samples_than_its_writer_counted_says_so(queue):
    record = msgspec.structs.replace(shard("a"), expected_samples=5)
    queue.add_shards([record])
    lease = queue.acquire("w")
    assert lease.shard == record
    lease = queue.commit(lease, all_labels(lease, 3))
    (row,) = queue.shard_rows()
    assert (row.never_readable, row.damage) == (0, None), "it is not read to its end yet"
    queue.commit(lease, CommitBatch(cursor=Cursor(3, 1536), finished=True))
    (row,) = queue.shard_rows()
    assert (row.never_readable, row.damage) == (2, "truncated: 3 of 5 samples")
    report = queue.audit(TrainedLedger())
    assert (report.ok, report.totals()["never_readable"], report.totals()["samples"]) == (True, 2, 3)


def test_the_count_stands_behind_the_reason_a_reader_gave(queue):
    queue.add_shards([msgspec.structs.replace(shard("a"), expected_samples=5)])
    lease = queue.acquire("w")
    queue.commit(lease, CommitBatch(cursor=Cursor(0, 0), finished=True, note="corrupt: bad header"))
    (row,) = queue.shard_rows()
    assert row.damage == "corrupt: bad header (0 of 5 samples)"
