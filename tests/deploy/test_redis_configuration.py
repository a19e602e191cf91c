from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from redis_servers import free_ports, installed_servers

from xpm_stream.config.queue_sections import QueueConfig, RedisConfig
from xpm_stream.errors import QueueError
from xpm_stream.label_queue import ShardRecord, connect
from xpm_stream.records import ShardId

SERVERS = installed_servers()
CONFIGURATION = Path(__file__).parents[2] / "deploy" / "redis" / "redis.conf"
PASSWORD = "correct-horse"
each_server = pytest.mark.parametrize("binary", SERVERS.values(), ids=SERVERS)


@contextmanager
def started(binary: Path, folder: Path, *, port: int) -> Iterator[None]:
    """The shipped file as it is; only port and data folder are this test's."""
    command = [str(binary), str(CONFIGURATION), "--port", str(port), "--dir", str(folder)]
    with (folder / "redis.log").open("ab") as log:
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    try:
        _await(server, port)
        yield
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)


def _await(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and server.poll() is None:
        with redis.Redis(port=port, password=PASSWORD) as client:
            try:
                client.ping()
            except (redis.ConnectionError, redis.BusyLoadingError):
                time.sleep(0.02)
            else:
                return
    pytest.fail(f"redis-server did not start with {CONFIGURATION}: exit status {server.poll()}")


@each_server
def test_a_redis_started_with_our_file_serves_the_queue_and_keeps_it_over_a_restart(
    binary: Path, tmp_path: Path
) -> None:
    (tmp_path / "password.conf").write_text(f"requirepass {PASSWORD}\n")
    port = free_ports()[0]
    config = RedisConfig(url=f"redis://:{PASSWORD}@127.0.0.1:{port}/0", retry_for_s=5)
    shard = ShardRecord(url="file:///a.tar", shard_id=ShardId("a"))
    with started(binary, tmp_path, port=port):
        with connect(config, QueueConfig(), run_folder=tmp_path) as queue:
            assert queue.add_shards([shard]) == 1
        with redis.Redis(port=port, password=PASSWORD, decode_responses=True) as client:
            for name, value in {"maxmemory-policy": "noeviction", "appendonly": "yes", "bind": "127.0.0.1"}.items():
                assert client.config_get(name)[name] == value
    with started(binary, tmp_path, port=port), connect(config, QueueConfig(), run_folder=tmp_path) as queue:
        assert queue.add_shards([shard]) == 0, "the shard ledger was lost over the restart"


@each_server
def test_it_asks_for_the_password(binary: Path, tmp_path: Path) -> None:
    (tmp_path / "password.conf").write_text(f"requirepass {PASSWORD}\n")
    port = free_ports()[0]
    with started(binary, tmp_path, port=port):
        config = RedisConfig(url=f"redis://:wrong@127.0.0.1:{port}/0", retry_for_s=0.1)
        with pytest.raises(QueueError, match="password"):
            connect(config, QueueConfig(), run_folder=tmp_path)


@each_server
def test_it_does_not_start_without_a_password(binary: Path, tmp_path: Path) -> None:
    command = [str(binary), str(CONFIGURATION), "--port", str(free_ports()[0]), "--dir", str(tmp_path)]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=20, check=False)
    assert answer.returncode != 0
    assert "password.conf" in answer.stdout + answer.stderr
