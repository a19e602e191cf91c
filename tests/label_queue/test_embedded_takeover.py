"""A process that joined an embedded Redis goes on when the owner, a command perhaps, ends first."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from queue_examples import shard
from redis_servers import until

from xpm_stream.config.queue_sections import QueueConfig, RedisConfig
from xpm_stream.errors import QueueUnavailable
from xpm_stream.label_queue import LabelQueue, connect
from xpm_stream.label_queue.embedded import find_redis_server

# Opens the queue of a run as a command or a role does, says whether it owns Redis, and stays until standard input ends.
OTHER_PROCESS = """
import sys
from pathlib import Path
from xpm_stream.config.queue_sections import QueueConfig, RedisConfig
from xpm_stream.label_queue import connect
with connect(RedisConfig(), QueueConfig(), run_folder=Path(sys.argv[1])) as queue:
    print(int(queue.server.owned), flush=True)
    sys.stdin.readline()
    print(queue.stats().shards_pending, int(queue.server.owned), flush=True)
    sys.stdin.readline()
"""
Start = Callable[[Path], "subprocess.Popen[str]"]


@pytest.fixture(autouse=True)
def first_on_path(
    redis_binary: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lets this process and its children find each of the servers where they would look for theirs."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "redis-server").symlink_to(redis_binary)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    assert find_redis_server().resolve() == redis_binary.resolve()


@pytest.fixture
def start() -> Iterator[Start]:
    """Start another process of the run; it has said whether it owns the server when this returns."""
    started = []

    def another(folder: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", OTHER_PROCESS, str(folder)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield another
    for process in started:
        process.kill()
        process.communicate(timeout=30)


def says(process: subprocess.Popen[str]) -> list[int]:
    assert process.stdout is not None
    return [int(word) for word in process.stdout.readline().split()]


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def join(folder: Path) -> LabelQueue:
    queue = connect(RedisConfig(retry_for_s=60, connect_timeout_s=0.5), QueueConfig(), run_folder=folder)
    assert queue.server is not None
    assert not queue.server.owned
    return queue


def server_of(queue: LabelQueue) -> psutil.Process:
    return psutil.Process(queue.edge.client.info("server")["process_id"])


@pytest.mark.parametrize("how", ["ends", "is killed"])
@pytest.mark.parametrize("place", ["run", "d" * 60 + "/" + "e" * 60], ids=["socket", "port"])
def test_who_joined_takes_the_server_over_when_its_owner(start: Start, tmp_path: Path, how: str, place: str) -> None:
    folder = tmp_path / place
    owner = start(folder)
    assert says(owner) == [1]
    with join(folder) as queue:
        queue.add_shards([shard("a")])
        first = server_of(queue)
        if how == "is killed":
            owner.kill()
            first.wait(20)
        else:
            owner.communicate("\n\n", timeout=60)
        queue.add_shards([shard("b")])
        assert queue.stats().shards_pending == 2
        assert queue.server is not None
        assert queue.server.owned
        third = start(folder)
        assert says(third) == [0]
        second = server_of(queue)
    second.wait(20)
    # And so on: the third goes on when this one has ended.
    go_on(third)
    assert says(third) == [2, 1]


def test_a_server_that_takes_long_to_end_is_waited_for_and_its_place_taken(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 60) / ("e" * 60)
    owner = start(folder)
    assert says(owner) == [1]
    with join(folder) as queue:
        queue.add_shards([shard("a")])
        first = server_of(queue)
        first.suspend()
        owner.kill()
        thaw = threading.Timer(4.0, first.resume)
        thaw.start()
        assert queue.stats().shards_pending == 1
        thaw.join()
        first.wait(20)
        assert queue.stats().shards_pending == 1
        assert queue.server is not None
        assert queue.server.owned


def test_of_many_who_joined_one_takes_over_and_the_others_follow(start: Start, tmp_path: Path) -> None:
    owner = start(tmp_path)
    assert says(owner) == [1]
    others = [start(tmp_path) for _ in range(3)]
    assert [says(other) for other in others] == [[0]] * 3
    with join(tmp_path) as queue, ThreadPoolExecutor(4) as threads:
        queue.add_shards([shard("a")])
        owner.communicate("\n\n", timeout=60)
        for other in others:
            go_on(other)
        counted = list(threads.map(lambda _: queue.stats().shards_pending, range(4)))
        heard = [says(other) for other in others]
        assert counted == [1] * 4
        assert [pending for pending, _ in heard] == [1] * 3
        assert queue.server is not None
        assert sum(owned for _, owned in heard) + queue.server.owned == 1


def test_a_port_that_somebody_else_took_meanwhile_is_named(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 60) / ("e" * 60)
    owner = start(folder)
    assert says(owner) == [1]
    with join(folder) as queue:
        port = int(queue.edge.client.connection_pool.connection_kwargs["port"])
        owner.communicate("\n\n", timeout=60)
        stranger = subprocess.Popen(
            [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"], stderr=subprocess.DEVNULL
        )
        try:
            until(lambda: psutil.Process(stranger.pid).net_connections(), what="the stranger on the port", within_s=30)
            with pytest.raises(QueueUnavailable, match="its port is taken now"):
                queue.stats()
        finally:
            stranger.kill()
            stranger.wait()
