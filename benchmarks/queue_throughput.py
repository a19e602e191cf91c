"""Labels through the queue against raw pipelined Redis streams of the same bytes, on the same real server.

    python -m benchmarks.queue_throughput [--labels N] [--batch N]

Ours: encode, commit (lease, fence, cursor, budget), read (epoch, pending), decode, acknowledge (delete). Raw, twice:
XADD and XREADGROUP of bytes made before, and the same with the XACK and XDEL without which a stream only grows.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import redis

from benchmarks.figures import Figure, Goal, paired_ratios, print_figures
from xpm_stream.config.queue_sections import QueueConfig, RedisConfig
from xpm_stream.label_queue import (
    CommitBatch,
    Cursor,
    Delivery,
    LabelQueue,
    ShardRecord,
    connect,
    encode,
    start_or_join,
)
from xpm_stream.records import (
    ImageInline,
    ImagePayload,
    ImageReference,
    InstanceAnnotation,
    LabelMessage,
    PseudoInstance,
    SampleId,
    ShardId,
    TeacherVersion,
)

WORDS = ("umbrella", "skateboard", "giraffe")
STREAM, GROUP = "raw", "raw"
INLINE_BYTES = 20_000  # a small JPEG


def message(sample: SampleId, *, num_instances: int = 3, inline: bool = False) -> LabelMessage:
    """A label of a COCO-like image with as many instances as a caption has nouns."""
    image: ImagePayload = ImageInline(bytes(INLINE_BYTES))
    if not inline:
        url = "s3://bucket/captions/part-00017/shard-000123.tar"
        image = ImageReference(url, offset=123_456_789, size=54_321, crc32=0xFFFFFFFF)
    return LabelMessage(
        method="xpm",
        sample=sample,
        teacher=TeacherVersion(7, 1, 35_000),
        image=image,
        image_size_wh=(640, 480),
        words=list(WORDS[:num_instances]),
        annotation=InstanceAnnotation(
            instances=[
                PseudoInstance(
                    word=word, box_xyxy=(10.0, 20.0, 310.5, 420.25), mask_bits=bytes(98), score=0.5, reliability=0.25
                )
                for word in WORDS[:num_instances]
            ]
        ),
        labelled_at_s=1.7e9,
        key="000123456",
    )


def measure(*, labels: int = 4000, batch: int = 16, rounds: int = 7) -> list[Figure]:
    """Labels a second, ours and raw in turns, on an embedded server of our own; and bytes a label."""
    with tempfile.TemporaryDirectory(prefix="xpm-queue-") as folder:
        run_folder = Path(folder)
        with start_or_join(RedisConfig(), run_folder=run_folder) as server:
            config = QueueConfig(max_unacked_labels=10 * labels)
            with connect(RedisConfig(url=server.url), config, run_folder=run_folder) as queue:
                figures = _throughput(queue, server.url, labels=labels, batch=batch, rounds=rounds)
    return [*figures, *message_sizes()]


def message_sizes() -> list[Figure]:
    """Bytes of an encoded label; they do not vary between runs."""
    sample = SampleId(0, ShardId("0123456789abcdef"), 1234)
    reference = [len(encode(message(sample, num_instances=count))) for count in range(1, len(WORDS) + 1)]
    return [
        Figure(
            name="bytes a label, image by reference",
            values=[float(reference[-1])],
            unit="bytes",
            goal=Goal(bound=1000, at_least=False),
            detail=f"{len(WORDS)} instances with 28x28 masks; {reference[0]} with one",
        ),
        Figure(
            name="bytes a label, image inline",
            values=[float(len(encode(message(sample, inline=True))))],
            unit="bytes",
            detail=f"the same with an image of {INLINE_BYTES:,} bytes",
        ),
    ]


def _throughput(queue: LabelQueue, url: str, *, labels: int, batch: int, rounds: int) -> list[Figure]:
    client = redis.Redis.from_url(url)
    queue.raise_epoch()
    seconds: list[list[float]] = [[], [], []]
    for number in range(rounds + 1):
        shard = ShardRecord(url=f"file:///shards/{number}.tar", shard_id=ShardId(f"{number:016x}"))
        made = [message(shard.sample(ordinal)) for ordinal in range(labels)]
        contenders: list[Callable[[], None]] = [
            partial(_through_queue, queue, shard, made, batch=batch),
            partial(_raw, client, encode(made[0]), labels=labels, batch=batch, delete=False),
            partial(_raw, client, encode(made[0]), labels=labels, batch=batch, delete=True),
        ]
        for contender, taken in zip(contenders, seconds, strict=True):
            client.delete(STREAM)
            client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
            started = time.perf_counter()
            contender()
            if number:  # the first round loads the scripts and warms the server
                taken.append(time.perf_counter() - started)
    client.close()
    ours, raw, deleting = seconds
    return [
        Figure(
            name=f"labels/s : raw {what}",
            values=paired_ratios(taken, ours),
            unit="ratio",
            goal=Goal(bound=0.6),
            detail=f"{_rate(labels, ours)} labels/s encoded and decoded, raw bytes {_rate(labels, taken)}; "
            f"{labels:,} labels in batches of {batch}",
        )
        for what, taken in (("XADD, XREADGROUP", raw), ("XADD, XREADGROUP, XACK, XDEL", deleting))
    ]


def _through_queue(queue: LabelQueue, shard: ShardRecord, made: Sequence[LabelMessage], *, batch: int) -> None:
    """One shard's labels: committed batch by batch, each batch read, all acknowledged at the end of a checkpoint."""
    labels = len(made)
    queue.add_shards([shard])
    lease = queue.acquire("labeler-0")
    assert lease is not None
    for start in range(0, labels, batch):
        stop = min(start + batch, labels)
        commit = CommitBatch(cursor=Cursor(stop, stop * 512), labels=made[start:stop], finished=stop == labels)
        lease = queue.commit(lease, commit)
    held: list[Delivery] = []
    while found := queue.read("rank0", count=batch):
        held += found
    assert len(held) == labels
    assert queue.acknowledge(held) == labels


def _raw(client: redis.Redis, data: bytes, *, labels: int, batch: int, delete: bool) -> None:
    for start in range(0, labels, batch):
        pipe = client.pipeline(transaction=False)
        for _ in range(start, min(start + batch, labels)):
            pipe.xadd(STREAM, {"s": "0:0000000000000000:0", "m": data})
        pipe.execute()
    ids: list[bytes] = []
    while reply := client.xreadgroup(GROUP, "rank0", {STREAM: ">"}, count=batch):
        ids += [entry_id for entry_id, _ in reply[0][1]]
    assert len(ids) == labels
    for first in range(0, len(ids) if delete else 0, 1000):
        pipe = client.pipeline(transaction=False)
        pipe.xack(STREAM, GROUP, *ids[first : first + 1000])
        pipe.xdel(STREAM, *ids[first : first + 1000])
        pipe.execute()


def _rate(labels: int, seconds: Sequence[float]) -> str:
    return f"{labels / statistics.median(seconds):,.0f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=4000, help="labels a round")
    parser.add_argument("--batch", type=int, default=16, help="labels of a commit and of a read")
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    print_figures(measure(labels=asked.labels, batch=asked.batch, rounds=asked.rounds))
