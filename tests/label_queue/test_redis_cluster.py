"""The protocol on a real Redis Cluster: three nodes on loopback, keys of one namespace in one slot."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from queue_examples import all_labels, expire_lease, fill, label, opened, shard
from redis_cluster import RedisCluster
from redis_servers import until

from xpm_stream.config.queue_sections import QueueConfig, RedisConfig
from xpm_stream.errors import LeaseLost, QueueRefused
from xpm_stream.label_queue import CommitBatch, Cursor, Reject, TrainedLedger
from xpm_stream.label_queue.connection import open_url


@pytest.fixture(scope="module")
def cluster(redis_binary, tmp_path_factory):
    with RedisCluster(redis_binary, tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture(scope="module")
def cluster_url(cluster):
    return cluster.url


@pytest.mark.parametrize("name", ["one", "two", "three", "four"])
def test_the_whole_life_of_labels_in_a_cluster(cluster_url, name):
    with opened(cluster_url, f"{name}-cluster") as queue:
        assert isinstance(queue.edge.client, redis.RedisCluster)
        lease = fill(queue, labels=6)
        rejects = [Reject(ordinal=7, reason="broken")]
        lease = queue.commit(lease, CommitBatch(cursor=Cursor(8, 1), skips={"no_nouns": [6]}, rejects=rejects))
        queue.add_shards([shard("b"), shard("c")])
        queue.release(queue.acquire("w"))
        queue.fail_shard(queue.acquire("w"), reason="404")
        assert queue.retry_shards() == 1
        queue.raise_epoch()
        queue.settle(TrainedLedger())
        held = queue.read("r", count=9, block_ms=20)
        assert queue.read("r", count=9, block_ms=20) == []
        queue.give_back(held[:2], reason="stale")
        queue.dead_letter(held[2], reason="x")
        work = queue.take_relabels("w", count=5)
        assert queue.commit_relabels(work, labels=[label(one.sample) for one in work.work]) == 2
        assert queue.replay(list(queue.dead_letters())).to_relabel == 1
        ledger = TrainedLedger()
        for delivery in held[3:]:
            ledger.add(delivery.sample)
        assert queue.acknowledge(held[3:]) == 3
        report = queue.audit(ledger)
        assert report.ok
        assert report.totals()["trained"] == 3
        stats = queue.stats()
        assert (stats.unacked_labels, stats.relabels, stats.shards_pending) == (3, 1, 2)
        expire_lease(queue, lease.shard.key)
        with pytest.raises(LeaseLost):
            queue.renew(lease)
        assert queue.capacity().available


def test_any_node_that_may_evict_is_refused_and_named(cluster):
    """The URL is that of the first node, which is as it should be."""
    node = cluster.nodes[2]
    node.configure("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(QueueRefused, match=rf"127\.0\.0\.1:{node.port}\) has maxmemory-policy allkeys-lru"):
            opened(cluster.url, "evicted")
    finally:
        node.configure("maxmemory-policy", "noeviction")
    with opened(cluster.url, "evicted") as queue:
        assert queue.ping()


def test_a_cluster_of_one_node_is_a_cluster(redis_binary, tmp_path):
    with RedisCluster(redis_binary, tmp_path, nodes=1) as one, opened(one.url, "alone") as queue:
        assert isinstance(queue.edge.client, redis.RedisCluster)
        fill(queue, labels=2)
        assert queue.stats().unacked_labels == 2


def test_a_queue_whose_slot_moves_waits_and_goes_on(cluster):
    """While it moves, some keys are here and some there, and Redis runs no script on several."""
    namespace = "moving"
    outages = []
    config = RedisConfig(url=cluster.url, namespace=namespace, retry_for_s=30.0)
    with open_url(cluster.url, config, QueueConfig(), on_outage=outages.append) as queue:
        lease = fill(queue, labels=10)
        queue.raise_epoch()
        held = queue.read("r", count=4)
        slot = cluster.slot_of(namespace)
        source = cluster.owner_of(slot)
        target = (source + 1) % 3
        cluster.open_move(slot, source=source, target=target)
        first, *rest = cluster.keys_in(source, slot)
        assert rest, "one key is no half-moved slot"
        cluster.move_key(first, source=source, target=target)
        with ThreadPoolExecutor(1) as pool:
            committing = pool.submit(queue.commit, lease, all_labels(lease, 12))
            until(lambda: outages, what="a commit refused over the move")
            for key in cluster.keys_in(source, slot):
                cluster.move_key(key, source=source, target=target)
            cluster.close_move(slot, target=target)
            assert committing.result().cursor.ordinal == 12
        assert not cluster.keys_in(source, slot)
        held += queue.read("r", count=20)
        assert sorted(delivery.sample.ordinal for delivery in held) == list(range(12))
        assert queue.acknowledge(held) == 12
        trained = TrainedLedger()
        for delivery in held:
            trained.add(delivery.sample)
        assert queue.audit(trained).ok
