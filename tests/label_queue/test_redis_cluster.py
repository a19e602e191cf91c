"""The protocol on a real Redis Cluster: three nodes on loopback, keys of one namespace in one slot."""

import socket
import subprocess
import threading

import pytest
import redis
from queue_examples import expire_lease, fill, label, opened, shard

from xpm_stream.errors import LeaseLost
from xpm_stream.label_queue import CommitBatch, Cursor, Reject, TrainedLedger

SLOTS = 16384


def free_ports(count):
    """Ports whose cluster bus port (+10000) exists too."""
    found = []
    while len(found) < count:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        candidate = 20_000 + port % 30_000
        with socket.socket() as probe, socket.socket() as bus:
            try:
                probe.bind(("127.0.0.1", candidate))
                bus.bind(("127.0.0.1", candidate + 10_000))
            except OSError:
                continue
        if candidate not in found:
            found.append(candidate)
    return found


def until(condition, *, what):
    for _ in range(600):
        if condition():
            return
        threading.Event().wait(0.05)
    pytest.fail(f"no {what} within 30 s")


def answers(client):
    try:
        return client.ping()
    except redis.exceptions.RedisError:
        return False


@pytest.fixture(scope="module")
def cluster_url(redis_binary, tmp_path_factory):
    ports = free_ports(3)
    nodes = []
    for port in ports:
        folder = tmp_path_factory.mktemp(f"node{port}")
        options = {
            "port": port,
            "bind": "127.0.0.1",
            "cluster-enabled": "yes",
            "cluster-node-timeout": 2000,
            "dir": folder,
        }
        options |= {"requirepass": "secret", "masterauth": "secret", "save": "", "logfile": folder / "log"}
        arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        nodes.append(subprocess.Popen([redis_binary, *arguments]))
    clients = [redis.Redis(port=port, password="secret") for port in ports]
    try:
        for client in clients:
            until(lambda client=client: answers(client), what="node")
        for number, client in enumerate(clients):
            first, last = number * SLOTS // 3, (number + 1) * SLOTS // 3
            client.execute_command("CLUSTER ADDSLOTS", *range(first, last))
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        for port in ports[1:]:
            clients[0].execute_command("CLUSTER MEET", "127.0.0.1", port)
        for client in clients:
            until(lambda client=client: client.cluster("info")["cluster_state"] == "ok", what="cluster")
            until(lambda client=client: len(client.cluster("nodes")) == 3, what="third node")
        yield f"redis://:secret@127.0.0.1:{ports[0]}/0"
    finally:
        for client in clients:
            client.close()
        for node in nodes:
            node.terminate()
        for node in nodes:
            node.wait(timeout=20)


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
