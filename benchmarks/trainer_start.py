"""What the start of a trainer costs: settling with a large ledger, after a lost checkpoint, and over a full queue.

`python -m benchmarks.trainer_start` prints one line for each case; Redis' times are its slow log's, of every command.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from xpm_stream.config.queue_sections import QueueConfig, RedisConfig
from xpm_stream.label_queue import (
    CommitBatch,
    Cursor,
    EncodedLabel,
    LabelQueue,
    OrdinalRanges,
    ShardRecord,
    TrainedLedger,
    connect,
    encode,
)
from xpm_stream.label_queue.shards import ShardRow
from xpm_stream.records import ImageInline, InstanceAnnotation, LabelMessage, ShardId, TeacherVersion

SAMPLES_PER_SHARD = 10_000


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, _queue("ledger", folder) as queue:
        queue.edge.client.config_set("slowlog-log-slower-than", 100)
        queue.edge.client.config_set("slowlog-max-len", 100_000)
        _large_ledger(queue)
        for namespace, case in (("gaps", _ledger_with_gaps), ("lost", _lost_checkpoint), ("full", _full_queue)):
            queue.edge.client.flushall()
            with _queue(namespace, folder) as another:
                case(another)


def _queue(namespace: str, folder: str) -> LabelQueue:
    return connect(RedisConfig(namespace=namespace), QueueConfig(max_unacked_mb=1024), run_folder=Path(folder))


def _large_ledger(queue: LabelQueue) -> None:
    _finished_shards(queue, 10_000)
    _settle(queue, _ledger(10_000, [(0, SAMPLES_PER_SHARD)]), "10,000 shards, one range each")


def _ledger_with_gaps(queue: LabelQueue) -> None:
    _finished_shards(queue, 10_000)
    ranges = [(start, start + 249) for start in range(0, SAMPLES_PER_SHARD, 250)]
    bits = bytearray(SAMPLES_PER_SHARD // 8)
    for _, gap in ranges:
        bits[gap // 8] |= 0x80 >> gap % 8
    with queue.edge.client.pipeline(transaction=False) as pipe:
        for number in range(10_000):
            pipe.set(queue.keys.skipped_bits(f"0:{_shard(number)}"), bytes(bits))
        pipe.execute()
    _settle(queue, _ledger(10_000, ranges), "10,000 shards, 40 ranges each")


def _lost_checkpoint(queue: LabelQueue) -> None:
    _finished_shards(queue, 100)
    before = queue.edge.client.info("memory")["used_memory"]
    _settle(queue, TrainedLedger(), "1,000,000 samples returned")
    grown = queue.edge.client.info("memory")["used_memory"] - before
    print(f"  Redis grew by {grown / 1e6:.0f} bytes a sample")
    _settle(queue, TrainedLedger(), "the same again, nothing to do")
    _settle(queue, _ledger(100, [(0, SAMPLES_PER_SHARD)]), "1,000,000 samples trained after all")


def _full_queue(queue: LabelQueue) -> None:
    shard = ShardRecord(url="s3://bucket/s.tar", shard_id=_shard(0))
    queue.add_shards([shard])
    lease = queue.acquire("labeler")
    assert lease is not None
    for first in range(0, 4096, 64):
        labels = [_inline_label(shard, ordinal) for ordinal in range(first, first + 64)]
        lease = queue.commit(lease, CommitBatch(cursor=Cursor(first + 64, 1), labels=labels))
    _settle(queue, _ledger(1, [(0, 4096)]), "4,096 inline labels of 60 kB, all trained")


def _settle(queue: LabelQueue, ledger: TrainedLedger, what: str) -> None:
    document = json.dumps(ledger.to_dict())
    started = time.monotonic()
    ledger = TrainedLedger.from_dict(json.loads(document))
    decoded = time.monotonic()
    queue.edge.client.slowlog_reset()
    queue.raise_epoch()
    settlement = queue.settle(ledger)
    seconds = time.monotonic() - decoded
    took = sorted(entry["duration"] / 1000 for entry in queue.edge.client.slowlog_get(100_000)) or [0.0]
    p50, p99, longest = took[len(took) // 2], took[int(len(took) * 0.99)], took[-1]
    print(
        f"{what}: {seconds:.1f} s, ledger {len(document) / 2**20:.2f} MiB decoded in {decoded - started:.1f} s, "
        f"acknowledged {settlement.acknowledged}, returned {settlement.returned}, RSS {_resident_mib():.0f} MiB; "
        f"commands p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {longest:.1f} ms",
        flush=True,
    )


def _finished_shards(queue: LabelQueue, number: int) -> None:
    with queue.edge.client.pipeline(transaction=False) as pipe:
        for order in range(number):
            row = ShardRow(
                url=f"s3://bucket/shard-{order:06d}.tar",
                shard_id=_shard(order),
                pass_index=0,
                state="finished",
                order=order,
                added_ms=1,
                ordinal=SAMPLES_PER_SHARD,
            )
            pipe.hset(queue.keys.shards, row.key, msgspec.msgpack.encode(row))
        pipe.execute()


def _ledger(shards: int, ranges: list[tuple[int, int]]) -> TrainedLedger:
    flat = OrdinalRanges(ranges).to_list()
    passes: dict[str, Any] = {"0": {_shard(number): flat for number in range(shards)}}
    return TrainedLedger.from_dict({"format": 1, "passes": passes})


def _inline_label(shard: ShardRecord, ordinal: int) -> EncodedLabel:
    message = LabelMessage(
        method="xpm",
        sample=shard.sample(ordinal),
        teacher=TeacherVersion(1, 0, 0),
        image=ImageInline(data=bytes(60_000)),
        image_size_wh=(640, 480),
        words=["dog"],
        annotation=InstanceAnnotation(instances=[]),
        labelled_at_s=1.7e9,
    )
    return EncodedLabel(sample=message.sample, data=encode(message))


def _shard(number: int) -> ShardId:
    return ShardId(f"s{number:06d}")


def _resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


if __name__ == "__main__":
    main()
