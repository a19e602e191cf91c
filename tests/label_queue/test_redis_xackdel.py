"""Acknowledging where the server has XACKDEL (Redis 8.2 on), and that it comes to the same where it has not."""

import pytest
import redis
from queue_examples import fill, shard

from xpm_stream.label_queue import TrainedLedger
from xpm_stream.label_queue.keys import GROUP

COMMANDS = ("xackdel", "xack", "xdel")


def has_xackdel(client):
    try:
        client.execute_command("XACKDEL", "nothing", "nobody", "DELREF", "IDS", 1, "1-1")
    except redis.exceptions.ResponseError:
        return False
    return True


@pytest.fixture
def xackdel(queue):
    if not has_xackdel(queue.edge.client):
        pytest.skip("this redis-server has no XACKDEL: it needs Redis 8.2 (XPM_TEST_REDIS_SERVER)")


def calls(client):
    """How often the server ran each command so far, failed attempts not counted."""
    stats = client.info("commandstats")
    found = (stats.get(f"cmdstat_{name}", {}) for name in COMMANDS)
    return [one.get("calls", 0) - one.get("failed_calls", 0) - one.get("rejected_calls", 0) for one in found]


def pending(queue):
    return queue.edge.client.xpending(queue.keys.labels, GROUP)["pending"]


def test_delivered_labels_are_acknowledged_and_deleted_by_it_alone(queue, xackdel):
    fill(queue, labels=6)
    queue.raise_epoch()
    held = queue.read("r", count=4)
    before = calls(queue.edge.client)
    assert queue.acknowledge(held) == 4
    after = calls(queue.edge.client)
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 0, 0]
    stats = queue.stats()
    assert (stats.unacked_labels, stats.labels_acknowledged, pending(queue)) == (2, 4, 0)


def test_a_server_without_it_acknowledges_and_deletes_with_one_command_each(queue):
    if has_xackdel(queue.edge.client):
        pytest.skip("this redis-server has XACKDEL")
    fill(queue, labels=3)
    queue.raise_epoch()
    held = queue.read("r", count=3)
    before = calls(queue.edge.client)
    assert queue.acknowledge(held) == 3
    assert [now - then for now, then in zip(calls(queue.edge.client), before, strict=True)] == [0, 1, 1]


def test_labels_in_every_state_are_acknowledged_once_and_leave_their_bytes(queue, open_queue):
    lease = fill(queue, labels=8)
    queue.raise_epoch()
    held = queue.read("r", count=4)
    assert queue.acknowledge(held[:1]) == 1
    # Pending, gone, released by another's XACK but still there; and, by settling, never delivered.
    queue.edge.client.xack(queue.keys.labels, GROUP, held[1].entry_id)
    assert queue.acknowledge(held) == 3
    assert queue.acknowledge(held) == 0
    trained = TrainedLedger()
    for ordinal in range(7):
        trained.add(lease.shard.sample(ordinal))
    other = open_queue()
    other.raise_epoch()
    assert other.settle(trained).acknowledged == 3
    rest = other.read("r", count=9)
    assert [delivery.sample for delivery in rest] == [shard("a").sample(7)]
    assert other.stats().unacked_bytes == rest[0].size_bytes
    assert other.acknowledge(rest) == 1
    assert (other.stats().unacked_bytes, other.stats().unacked_labels, pending(other)) == (0, 0, 0)


def test_more_labels_than_one_script_takes_are_acknowledged(queue):
    fill(queue, labels=2500)
    queue.raise_epoch()
    held = queue.read("r", count=2500)
    assert queue.acknowledge(held) == 2500
    assert (queue.stats().unacked_bytes, pending(queue)) == (0, 0)
