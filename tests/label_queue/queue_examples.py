"""Example labels, and what tests do to a queue behind its back; shared by the label queue's tests."""

import msgspec
import redis

from xpm_stream.config.queue_sections import QueueConfig, RedisConfig
from xpm_stream.label_queue import CommitBatch, Cursor, LabelQueue, Lease, ShardRecord
from xpm_stream.label_queue.connection import open_url
from xpm_stream.label_queue.shards import ShardRow
from xpm_stream.records import (
    ImageReference,
    InstanceAnnotation,
    LabelMessage,
    PseudoInstance,
    SampleId,
    ShardId,
    TeacherVersion,
)


def instance(word: str = "umbrella") -> PseudoInstance:
    return PseudoInstance(
        word=word, box_xyxy=(1.5, 2.5, 300.25, 400.75), mask_bits=bytes(range(98)), score=0.5, reliability=0.25
    )


def label(sample: SampleId, *, num_instances: int = 1, promotion: int = 1) -> LabelMessage:
    return LabelMessage(
        method="xpm",
        sample=sample,
        teacher=TeacherVersion(promotion, 0, 0),
        image=ImageReference("s3://bucket/laion/part-00017/shard-000123.tar", 1234567, 54321, 0xFFFFFFFF),
        image_size_wh=(640, 480),
        words=["cat", "dog", "umbrella"],
        annotation=InstanceAnnotation(instances=[instance() for _ in range(num_instances)]),
        labelled_at_s=1.7e9,
        key="000123456",
    )


def shard(name: str = "a", *, pass_index: int = 0) -> ShardRecord:
    return ShardRecord(
        url=f"file:///shards/{name}.tar", shard_id=ShardId(name), size_bytes=10_240, pass_index=pass_index
    )


def all_labels(lease: Lease, stop: int, *, finished: bool = False) -> CommitBatch:
    """Labels for every sample up to `stop`, at 512 bytes each."""
    labels = [label(lease.shard.sample(ordinal)) for ordinal in range(lease.cursor.ordinal, stop)]
    return CommitBatch(cursor=Cursor(stop, stop * 512), labels=labels, finished=finished)


def fill(queue: LabelQueue, *, labels: int, name: str = "a") -> Lease:
    """Adds a shard and commits labels for its first samples."""
    queue.add_shards([shard(name)])
    lease = queue.acquire("labeler")
    assert lease is not None
    assert lease.shard.shard_id == name
    return queue.commit(lease, all_labels(lease, labels))


def expire_lease(queue: LabelQueue, shard_key: str) -> None:
    """Does to a shard's lease what waiting for its deadline would."""
    client, keys = queue.edge.client, queue.keys
    row = msgspec.msgpack.decode(client.hget(keys.shards, shard_key))
    row["expires_ms"] = 1
    msgspec.convert(row, ShardRow)
    client.hset(keys.shards, shard_key, msgspec.msgpack.encode(row))
    client.zadd(keys.leases, {shard_key: 1})


def expire_relabels(queue: LabelQueue) -> None:
    """Does to all relabel leases what waiting for their deadlines would."""
    client, keys = queue.edge.client, queue.keys
    for sample in client.zrange(keys.relabel_queue, 0, -1):
        client.zadd(keys.relabel_queue, {sample: 1})


def copy_of_redis(client: redis.Redis, namespace: str) -> dict[bytes, bytes]:
    """All of a namespace as Redis would save it."""
    return {key: client.dump(key) for key in client.scan_iter(match=f"{{{namespace}}}:*", count=1000)}


def restore_redis(client: redis.Redis, namespace: str, copy: dict[bytes, bytes]) -> None:
    """Puts an older copy in place of what is there now."""
    for key in client.scan_iter(match=f"{{{namespace}}}:*", count=1000):
        client.delete(key)
    for key, value in copy.items():
        client.restore(key, 0, value)


def opened(url: str, namespace: str, **settings: object) -> LabelQueue:
    retry_for_s = settings.pop("retry_for_s", 5.0)
    timeout_s = settings.pop("connect_timeout_s", 5.0)
    config = RedisConfig(url=url, namespace=namespace, retry_for_s=retry_for_s, connect_timeout_s=timeout_s)
    return open_url(url, config, QueueConfig(**settings))
