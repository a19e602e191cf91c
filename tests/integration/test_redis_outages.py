"""Redis cut off, silent, frozen, refusing or restored, in the middle of runs of real processes: each sample once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cut_proxy import CutProxy
from redis_cluster import RedisCluster
from redis_servers import PASSWORD, RedisServer, newest_server
from stub_runs import StubRun, make_stub_run

OUTAGE_S = 30.0
MakeStubRun = Callable[..., StubRun]


@pytest.fixture
def make_stub(tmp_path: Path) -> Iterator[MakeStubRun]:
    runs: list[StubRun] = []

    def make(name: str, **options: Any) -> StubRun:
        runs.append(make_stub_run(tmp_path / name, **options))
        return runs[-1]

    yield make
    for run in runs:
        run.end()


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[[str], RedisServer]]:
    servers: list[RedisServer] = []

    def make(name: str) -> RedisServer:
        servers.append(RedisServer(newest_server(), tmp_path / name / "redis"))
        servers[-1].start()
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


@dataclass
class Cut:
    """One run whose way to Redis will be broken."""

    run: StubRun
    breaks: Callable[[], None]
    mends: Callable[[], None]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_roles_wait_out_thirty_seconds_without_redis(make_stub: MakeStubRun, make_server: Any) -> None:
    """Three runs at once: connections closed and refused, connections open but silent, redis-server frozen."""
    cuts: list[Cut] = []
    proxies: list[CutProxy] = []
    for name in ("refused", "silent", "frozen"):
        server = make_server(name)
        proxy = CutProxy(server.port)
        proxies.append(proxy)
        run = make_stub(name, redis={"url": f"redis://:{PASSWORD}@127.0.0.1:{proxy.port}/0"}, pace_ms=60)
        breaks, mends = {
            "refused": (proxy.cut, proxy.restore),
            "silent": (proxy.freeze, proxy.thaw),
            "frozen": (server.freeze, server.thaw),
        }[name]
        cuts.append(Cut(run, breaks, mends))
    roles = [cut.run.start_all() for cut in cuts]
    for cut in cuts:
        cut.run.await_trained(64)
        cut.run.until(lambda cut=cut: cut.run.readiness("train")[0] == 200, what="a ready trainer")
    for cut in cuts:
        cut.breaks()
    before = [cut.run.trained() for cut in cuts]
    broken_s = time.monotonic()
    places = [(cut, kind) for cut in cuts for kind in ("label", "train")]
    for cut, kind in places:
        cut.run.until(lambda cut=cut, kind=kind: cut.run.waits(kind), what=f"{kind} saying that it waits for Redis")
    with ThreadPoolExecutor(len(places)) as pool:  # each answer takes as long as Redis may take to answer
        for status, text in pool.map(lambda place: place[0].run.readiness(place[1]), places):
            assert (status, "Redis does not answer" in text) == (503, True), text
    assert time.monotonic() - broken_s < OUTAGE_S, "too slow to be seen within the outage"
    while time.monotonic() - broken_s < OUTAGE_S:  # not a synchronisation: the length of the outage is what is tested
        time.sleep(0.2)
    for cut, processes, trained in zip(cuts, roles, before, strict=True):
        cut.run.check_alive(processes)
        assert cut.run.trained() < len(cut.run.usable), "the run was over before its outage was"
        assert cut.run.trained() <= trained + 256, "it trained labels that it cannot have had"
        cut.mends()
    for cut, processes in zip(cuts, roles, strict=True):
        cut.run.finish(processes)
        cut.run.check_each_trained_once()
    for proxy in proxies:
        proxy.close()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_one_run_goes_through_everything_redis_may_answer(make_stub: MakeStubRun, make_server: Any) -> None:
    """Killed and loading its append-only file, read-only, out of memory, disk full: in turn, in one run."""
    server: RedisServer = make_server("troubles")
    run = make_stub("troubles", redis={"url": server.url, "connect_timeout_s": 2.0}, pace_ms=50)
    roles = run.start_all()
    run.await_trained(64)

    server.kill()
    _await_answer(run, "cannot be reached", kinds=("label", "train"))
    server.start()

    run.await_trained(run.trained() + 200)
    with server.client() as client:
        client.replicaof("127.0.0.1", "1")
        _await_answer(run, "read-only replica", kinds=("label", "train"))
        client.replicaof("NO", "ONE")

    run.await_trained(run.trained() + 200)
    server.configure("maxmemory", 1)
    _await_answer(run, "out of memory", kinds=("label",))
    held = run.trained()
    run.until(lambda: run.queued() == 0, what="the trainer having acknowledged all there is")
    assert run.trained() > held, "it could not train and acknowledge"
    server.configure("maxmemory", 0)

    run.await_trained(run.trained() + 200)
    server.fill_disk()
    _await_answer(run, "cannot write its append-only file", kinds=("label", "train"))
    server.free_disk()

    run.check_alive(roles)
    run.finish(roles)
    run.check_each_trained_once()
    assert not [error for kind in ("label", "train") for error in run.waits(kind) if "answered:" in error]


def _await_answer(run: StubRun, answer: str, *, kinds: tuple[str, ...]) -> None:
    """Wait until roles have said what Redis answered them; the run must not be over by then."""
    for kind in kinds:
        run.until(lambda kind=kind: any(answer in error for error in run.waits(kind)), what=f"{kind}: {answer}")
    assert run.trained() < len(run.usable), "the run was over before its trouble"


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("copied", ["in the trainer's epoch", "before the trainer's epoch"])
def test_a_redis_restored_from_an_older_copy_than_the_checkpoint_trains_nothing_twice(
    copied: str, make_stub: MakeStubRun, make_server: Any, tmp_path: Path
) -> None:
    server: RedisServer = make_server("restored")
    run = make_stub("restored", redis={"url": server.url}, pace_ms=40)
    roles = run.start_all()
    run.await_trained(100)
    server.save_copy(tmp_path / "copy")
    if copied == "before the trainer's epoch":
        roles["train"].terminate()
        roles["train"].join(60)
        roles["train"] = run.start("train")
    checkpoint = run.await_trained(run.trained() + 400)
    server.kill()
    server.restore_copy(tmp_path / "copy")
    server.start()
    if copied == "before the trainer's epoch":
        roles["train"].join(60)
        assert roles["train"].exitcode == 1, run.said()
        assert "restored from an older copy; start the trainer again from its checkpoint" in run.said()
        assert run.trained() < len(run.usable)
        run.processes.remove(roles["train"])
        roles["train"] = run.start("train")
    run.until(lambda: run.trained() > checkpoint, what="training going on")
    run.finish(roles)
    run.check_each_trained_once()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_run_on_a_cluster_goes_on_while_its_slot_moves(make_stub: MakeStubRun, tmp_path: Path) -> None:
    with RedisCluster(newest_server(), tmp_path / "cluster") as cluster:
        run = make_stub("sharded", redis={"url": cluster.url})
        roles = run.start_all()
        run.await_trained(100)
        slot = cluster.slot_of(run.config.redis.namespace)
        source = cluster.owner_of(slot)
        target = (source + 1) % 3
        cluster.open_move(slot, source=source, target=target)
        for kind in ("label", "train"):
            run.until(lambda kind=kind: run.waits(kind), what=f"{kind} waiting for the move to end")
        for key in cluster.keys_in(source, slot):
            cluster.move_key(key, source=source, target=target)
        cluster.close_move(slot, target=target)
        run.check_alive(roles)
        moved = run.trained()
        assert moved < len(run.usable)
        run.until(lambda: run.trained() > moved, what="training going on at the other node")
        run.finish(roles)
        run.check_each_trained_once()
        assert not cluster.keys_in(source, slot)
