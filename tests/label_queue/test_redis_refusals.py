"""Redis away, cut off, restarted, or refusing: what a role is told, and that nothing is written twice."""

import signal
import threading
from pathlib import Path

import psutil
import pytest
import redis
from queue_examples import all_labels, fill, label, opened, shard
from redis_servers import RedisServer, until

from xpm_stream.config.queue_sections import QueueConfig, RedisConfig
from xpm_stream.errors import ConfigError, QueueRefused, QueueUnavailable
from xpm_stream.label_queue import CommitBatch, Cursor, Reject, TrainedLedger, start_or_join
from xpm_stream.label_queue.connection import open_url
from xpm_stream.label_queue.redis_errors import masked_url

ACL_FILE = Path(__file__).parents[2] / "deploy" / "redis" / "users.acl"


@pytest.fixture
def own_server(redis_binary, tmp_path):
    """A server that only this test may hurt."""
    with start_or_join(RedisConfig(fsync="always"), run_folder=tmp_path, binary=redis_binary) as server:
        yield server


def open_watched(url, *, retry_for_s=20.0, timeout_s=0.3, stop=None):
    outages = []
    config = RedisConfig(url=url, retry_for_s=retry_for_s, connect_timeout_s=timeout_s)
    return open_url(url, config, QueueConfig(), on_outage=outages.append, stop=stop), outages


def process_of(queue):
    return psutil.Process(queue.edge.client.info("server")["process_id"])


def test_a_redis_that_is_not_there_is_named_without_its_password():
    with pytest.raises(QueueUnavailable, match=r"redis://me:\*\*\*@127\.0\.0\.1:1/0") as caught:
        open_watched("redis://me:hunter2@127.0.0.1:1/0", retry_for_s=0.1)
    assert "hunter2" not in str(caught.value)


def test_waiting_for_an_absent_redis_ends_when_the_role_is_told_to_stop():
    stop = threading.Event()
    config = RedisConfig(url="redis://127.0.0.1:1/0", retry_for_s=600)
    with pytest.raises(QueueUnavailable):
        open_url(config.url, config, QueueConfig(), on_outage=lambda _: stop.set(), stop=stop)


def test_a_wrong_or_missing_password_is_refused_at_once(server):
    for url in (server.url.replace("://:", "://:wrong"), "unix://" + server.url.partition("@")[2]):
        with pytest.raises(QueueRefused, match=r"password") as caught:
            opened(url, "t", retry_for_s=600)
        assert "wrong" not in str(caught.value).replace("WRONG", "")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis://:pass@host/0", "redis://:***@host/0"),
        ("rediss://user:p@s/s:w@host:1/0", "rediss://user:***@host:1/0"),
        ("unix://user:pass@/tmp/a.sock?db=0", "unix://user:***@/tmp/a.sock?db=0"),
        ("unix:///tmp/a.sock?db=1&password=secret", "unix:///tmp/a.sock?db=1&password=***"),
    ],
)
def test_urls_are_shown_without_passwords(url, shown):
    assert masked_url(url) == shown


@pytest.mark.parametrize("url", ["http://host", "redis://:hunter2@host:port:6/0", "redis://[hunter2"])
def test_what_is_no_redis_url_is_a_config_error_that_keeps_the_secret(url):
    with pytest.raises(ConfigError) as caught:
        opened(url, "t")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_redis_that_may_evict_is_refused_with_the_way_out(own_server):
    with redis.Redis.from_url(own_server.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(QueueRefused, match="CONFIG SET maxmemory-policy noeviction"):
        opened(own_server.url, "t")


def test_a_commit_into_a_frozen_redis_is_written_once_when_it_thaws(own_server):
    queue, outages = open_watched(own_server.url)
    with queue:
        queue.add_shards([shard("a")])
        lease = queue.acquire("w")
        frozen = process_of(queue)
        frozen.send_signal(signal.SIGSTOP)
        thaw = threading.Timer(1.0, frozen.send_signal, args=(signal.SIGCONT,))
        thaw.start()
        lease = queue.commit(lease, all_labels(lease, 4))
        thaw.join()
        assert outages
        assert outages[0].doing == "committing labels"
        assert queue.audit(TrainedLedger()).totals()["queued"] == 4
        assert queue.audit(TrainedLedger()).ok
        assert queue.commit(lease, all_labels(lease, 5)).sequence == 2


def test_reading_and_acknowledging_survive_a_frozen_redis(own_server):
    queue, _ = open_watched(own_server.url)
    with queue:
        fill(queue, labels=30)
        queue.raise_epoch()
        held = queue.read("r", count=10)
        frozen = process_of(queue)
        for step in (lambda: held.extend(queue.read("r", count=10)), lambda: queue.acknowledge(held)):
            frozen.send_signal(signal.SIGSTOP)
            thaw = threading.Timer(0.8, frozen.send_signal, args=(signal.SIGCONT,))
            thaw.start()
            step()
            thaw.join()
        while more := queue.read("r", count=10):
            held += more
        assert sorted(delivery.sample.ordinal for delivery in held) == list(range(30))
        queue.acknowledge(held)
        assert queue.stats().unacked_labels == 0


def test_everything_goes_on_after_redis_was_killed_and_restarted(own_server):
    queue, outages = open_watched(own_server.url)
    with queue:
        lease = fill(queue, labels=3)
        queue.raise_epoch()
        held = queue.read("r", count=2)
        for _ in range(2):
            process = process_of(queue)
            process.kill()
            process.wait(timeout=20)
            lease = queue.commit(lease, all_labels(lease, lease.cursor.ordinal + 1))
        held += queue.read("r", count=9)
        assert sorted(delivery.sample.ordinal for delivery in held) == list(range(5))
        assert queue.acknowledge(held) == 5
        assert outages


def test_a_read_only_replica_is_refused_after_waiting(own_server, redis_binary, tmp_path):
    with start_or_join(RedisConfig(), run_folder=tmp_path / "replica", binary=redis_binary) as second:
        with redis.Redis.from_url(second.url) as client:
            client.replicaof("127.0.0.1", "1")
        queue, outages = open_watched(second.url, retry_for_s=0.3)
        with queue, pytest.raises(QueueRefused, match="is a read-only replica"):
            queue.add_shards([shard("a")])
        assert outages


@pytest.fixture
def role(server, namespace):
    """Opens the queue as one of the users of deploy/redis/users.acl."""
    queues = []
    host = server.url.partition("@")[2]
    with redis.Redis.from_url(server.url) as client:
        for line in ACL_FILE.read_text("utf-8").splitlines():
            if line.startswith("user ") and " default " not in line:
                _, name, *rules = line.replace("{xpm}", f"{{{namespace}}}").replace("CHANGE-ME", "secret").split()
                client.execute_command("ACL", "SETUSER", f"{namespace}-{name}", *rules)

        def as_user(name):
            queues.append(opened(f"unix://{namespace}-{name}:secret-{name}@{host}", namespace, max_attempts=2))
            return queues[-1]

        yield as_user
        for queue in queues:
            queue.close()
        for name in ("admin", "labeler", "trainer", "monitor", "operator"):
            client.acl_deluser(f"{namespace}-{name}")


def test_each_role_can_do_its_work_with_the_rights_of_the_acl_file(role):
    labeler, trainer, monitor, operator = (role(name) for name in ("labeler", "trainer", "monitor", "operator"))
    labeler.add_shards([shard("a"), shard("b"), shard("c")])
    lease = labeler.acquire("w")
    batch = all_labels(lease, 6)
    labeler.commit(lease, CommitBatch(cursor=Cursor(7, 9), labels=batch.labels, skips={"no_nouns": [6]}))
    other = labeler.acquire("w")
    labeler.renew(other)
    labeler.release(other)
    labeler.fail_shard(labeler.acquire("w"), reason="404")
    assert labeler.capacity().available
    assert not labeler.corpus_progress().drained
    assert labeler.unknown_shards([shard("a"), shard("z")]) == [shard("z")]
    trainer.raise_epoch()
    trainer.settle(TrainedLedger())
    held = trainer.read("r", count=6, block_ms=10)
    trainer.read("r", count=1, block_ms=10)
    trainer.give_back(held[:2], reason="stale")
    trainer.fail(held[2], reason="x")
    trainer.dead_letter(held[3], reason="x")
    trainer.acknowledge(held[4:])
    trainer.stats()
    assert trainer.unknown_shards([shard("a"), shard("y")]) == [shard("y")]
    assert trainer.add_shards([shard("y")]) == 1
    assert not trainer.finish(checkpoint="c", step=1, drained=True)
    assert trainer.finish(checkpoint="c", step=1, drained=False)
    assert labeler.corpus_progress().finish.step == 1
    work = labeler.take_relabels("w", count=2)
    labeler.renew_relabels(work)
    labeler.commit_relabels(work, labels=[label(one.sample) for one in work.work])
    ledger = TrainedLedger()
    for delivery in held[4:]:
        ledger.add(delivery.sample)
    assert monitor.audit(ledger).ok
    assert monitor.stats().dead_letters == 1
    assert operator.retry_shards() == 1
    assert operator.replay(list(operator.dead_letters())).to_stream == 1
    assert operator.purge(list(operator.dead_letters())) == 0
    assert operator.newest_dead_letter() is None
    assert operator.audit(ledger).ok
    assert operator.watch("s3://bucket/*.tar")
    assert list(labeler.watched()) == list(monitor.watched()) == ["s3://bucket/*.tar"]
    assert operator.unwatch("s3://bucket/*.tar")
    assert operator.add_shards([shard("d")]) == 1
    assert monitor.shard_row("0:d") == operator.shard_row("0:d")


def test_an_operators_user_can_have_a_rejected_sample_labelled_again(role):
    labeler, operator = role("labeler"), role("operator")
    labeler.add_shards([shard("a")])
    rejects = [Reject(ordinal=0, reason="timeout")]
    labeler.commit(labeler.acquire("w"), CommitBatch(cursor=Cursor(1, 512), rejects=rejects))
    assert operator.replay(list(operator.dead_letters())).to_relabel == 1
    assert labeler.take_relabels("w", count=1) is not None


def test_a_labelers_user_cannot_acknowledge_and_a_monitors_cannot_write(role):
    labeler, trainer, monitor = (role(name) for name in ("labeler", "trainer", "monitor"))
    fill(labeler, labels=2)
    epoch = trainer.raise_epoch()
    held = trainer.read("r", count=2)
    for user in (labeler, monitor):
        user._epoch = trainer._epoch
        with pytest.raises(QueueRefused, match=r"deploy/redis/users\.acl"):
            user.acknowledge(held)
        with pytest.raises(QueueRefused, match=r"deploy/redis/users\.acl"):
            user.raise_epoch()
    for write in (
        lambda: monitor.add_shards([shard("z")]),
        lambda: monitor.acquire("w"),
        lambda: monitor.read("r", count=1),
        lambda: monitor.watch("s3://bucket/*.tar"),
        lambda: monitor.unwatch("s3://bucket/*.tar"),
    ):
        with pytest.raises(QueueRefused, match=r"deploy/redis/users\.acl"):
            write()
    assert epoch == 1
    assert trainer.acknowledge(held) == 2


@pytest.fixture
def hurt_server(redis_binary, tmp_path):
    """As `own_server`, of the kind that a test can start again as it likes."""
    with RedisServer(redis_binary, tmp_path / "data") as server:
        yield server


def test_a_redis_that_is_still_loading_its_file_is_waited_for(hurt_server):
    queue, outages = open_watched(hurt_server.url, timeout_s=3.0)
    with queue:
        lease = fill(queue, labels=3)
        with hurt_server.client() as client, client.pipeline(transaction=False) as pipe:
            for number in range(5000):
                pipe.set(f"other:{number}", number)
            pipe.execute()
        hurt_server.kill()
        # Microseconds for each command of the file; it answers, that it is loading, after every thousand of them.
        hurt_server.start(extra={"key-load-delay": 300}, wait=False)
        lease = queue.commit(lease, all_labels(lease, 4))
        assert any("loading" in str(outage.error).lower() for outage in outages), [str(one.error) for one in outages]
        assert queue.audit(TrainedLedger()).totals()["queued"] == 4


def test_a_full_disk_is_waited_for_and_named(hurt_server):
    queue, outages = open_watched(hurt_server.url)
    with queue:
        lease = fill(queue, labels=3)
        hurt_server.fill_disk()
        # The answer to the write that did not fit is held back or given; the next ones are refused.
        until(lambda: refused(hurt_server), what="Redis refusing writes")
        space = threading.Timer(1.5, hurt_server.free_disk)
        space.start()
        lease = queue.commit(lease, all_labels(lease, 5))
        space.join()
        assert any("cannot write its append-only file" in str(outage.error) for outage in outages)
        queue.raise_epoch()
        assert queue.acknowledge(queue.read("r", count=9)) == 5


def refused(server):
    with server.client() as client:
        try:
            client.set("other", 1)
        except redis.exceptions.ResponseError as error:
            return "MISCONF" in str(error)
    return False


def test_a_primary_that_becomes_a_replica_and_a_primary_again_is_waited_for(hurt_server):
    queue, outages = open_watched(hurt_server.url)
    with queue, hurt_server.client() as client:
        lease = fill(queue, labels=3)
        client.replicaof("127.0.0.1", "1")
        back = threading.Timer(1.0, client.replicaof, args=("NO", "ONE"))
        back.start()
        queue.commit(lease, all_labels(lease, 4))
        back.join()
        assert any("read-only replica" in str(outage.error) for outage in outages)
