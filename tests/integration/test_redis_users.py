"""A whole run in which each role is its own user of deploy/redis/users.acl: no right is missing, and none too many."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis_servers import PASSWORD, RedisServer, newest_server
from stub_runs import StubRun, make_stub_run

from xpm_stream.config.loading import parse_config
from xpm_stream.label_queue import ShardRecord, TrainedLedger, connect
from xpm_stream.records import ShardId

ACL_FILE = Path(__file__).parents[2] / "deploy" / "redis" / "users.acl"
USER_OF = {"label": "labeler", "train": "trainer", "promote": "monitor"}
BROKEN = 3
REFUSED = r"(?i)permission|can't (run|access)|not allowed"  # as the versions of Redis say it inside scripts
TAKE = "XREADGROUP GROUP trainers x STREAMS {xpm}:labels >"
FORBIDDEN = {
    "labeler": [
        *("XACK {xpm}:labels trainers 1-1", "XDEL {xpm}:labels 1-1", "XTRIM {xpm}:labels MAXLEN 0", "DEL {xpm}:labels"),
        *("XRANGE {xpm}:labels - +", TAKE, "HGET {other}:meta epoch", "CONFIG SET maxmemory 1", "FLUSHALL"),
    ],
    "trainer": ["DEL {xpm}:labels", "HGET {other}:meta epoch", "CONFIG SET maxmemory 1", "FLUSHALL"],
    "monitor": [
        *("XADD {xpm}:labels * a b", "HSET {xpm}:meta epoch 9", "SETBIT {xpm}:dead_bits:a 1 1", "DEL {xpm}:meta"),
        *(TAKE, "XACK {xpm}:labels trainers 1-1", "CONFIG SET maxmemory 1", "FLUSHALL"),
    ],
    "operator": ["DEL {xpm}:labels", "XACK {xpm}:labels trainers 1-1", TAKE, "CONFIG SET maxmemory 1", "FLUSHALL"],
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    users = tmp_path / "users.acl"
    # Lines beginning with # are comments in the shipped file only: Redis reads none.
    lines = [line for line in ACL_FILE.read_text("utf-8").splitlines() if line.startswith("user ")]
    text = "\n".join(lines).replace("CHANGE-ME-admin", PASSWORD).replace("CHANGE-ME", "secret")
    users.write_text(text + "\n", encoding="utf-8")
    with RedisServer(newest_server(), tmp_path / "redis", acl_file=users) as started:
        yield started


@pytest.fixture
def run(server: RedisServer, tmp_path: Path) -> Iterator[StubRun]:
    """Teachers change often and no label may be old, so that labels are given back; and some samples are broken."""
    made = make_stub_run(
        tmp_path / "run",
        redis={"url": server.url_of("nobody", "nothing")},
        shards=2,
        promotion={"every_steps": 4},
        trainer={"max_teacher_lag": 0},
    )
    with tarfile.open(tmp_path / "run" / "corpus" / "broken.tar", "w") as tar:
        for number in range(BROKEN):
            for name, content in ((f"{number}.png", b"no picture"), (f"{number}.txt", b"a dog")):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    yield made
    made.end()


@pytest.mark.slow
def test_each_role_runs_with_its_own_rights_and_no_more(server: RedisServer, run: StubRun) -> None:
    urls = {user: server.url_of(user, f"secret-{user}") for user in ("labeler", "trainer", "monitor", "operator")}
    roles = {kind: run.start(kind, redis_url=urls[user]) for kind, user in USER_OF.items()}
    run.finish(roles)
    audit = run.check_each_trained_once(redis_url=urls["monitor"], others=BROKEN)
    assert audit.totals()["dead"] == BROKEN
    config = run.config_of(urls["operator"])
    with connect(config.redis, config.queue, run_folder=run.folder) as queue:
        assert queue.stats().labels_acknowledged == len(run.usable)
        assert queue.replay(list(queue.dead_letters())).to_relabel == BROKEN
        queue.audit(TrainedLedger())
    with server.client() as admin:
        denied = [f"{entry['username']} {entry['object']} ({entry['context']})" for entry in admin.acl_log()]
    assert not denied, "a role uses what its user may not"

    for user, commands in FORBIDDEN.items():
        with redis.Redis.from_url(urls[user]) as client:
            for command in commands:
                with pytest.raises(redis.exceptions.NoPermissionError):
                    client.execute_command(*command.split())
                script = f"return redis.call({', '.join(map(repr, command.split()))})"
                with pytest.raises(redis.exceptions.ResponseError, match=REFUSED):
                    client.evalsha(client.script_load(script), 0)


def test_what_these_users_wrote_is_there_after_a_restart_and_nobody_is_let_in_without_a_name(
    server: RedisServer, tmp_path: Path
) -> None:
    """Redis 7 replays the append-only file with the rights of the user `default`, though it is off."""
    config = parse_config({"redis": {"url": server.url_of("operator", "secret-operator")}}, source="test")
    shard = ShardRecord(url="file:///a.tar", shard_id=ShardId("a"), size_bytes=1)
    with connect(config.redis, config.queue, run_folder=tmp_path) as queue:
        queue.add_shards([shard])  # by a script, and so as a transaction in the append-only file
        server.configure("appendfsync", "always")
        queue.watch("s3://bucket/*.tar")
        server.kill()
        server.start()
        assert [row.url for row in queue.shard_rows()] == [shard.url]
        assert list(queue.watched()) == ["s3://bucket/*.tar"]
    anonymous = f"redis://127.0.0.1:{server.port}/0"
    for url in (anonymous, f"redis://default:@127.0.0.1:{server.port}/0", server.url_of("default", "")):
        with redis.Redis.from_url(url) as client, pytest.raises(redis.exceptions.AuthenticationError):
            client.ping()
