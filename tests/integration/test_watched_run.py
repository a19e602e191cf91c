"""A whole run of real roles with the drift monitor beside it: it sees what they do, and changes nothing of it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis_servers import RedisServer, newest_server
from stub_runs import StubRun, make_stub_run

from xpm_stream.label_queue import connect
from xpm_stream.monitoring.drift_store import DriftStore
from xpm_stream.registry.store import open_store

DRIFT = {
    "poll_s": 0.02,
    "window_labels": 100,
    "min_window_labels": 50,
    "reference_labels": 300,
    "false_alarm_windows": 20,
    "block_labels": 1,
}


@pytest.fixture
def run(tmp_path: Path) -> Iterator[StubRun]:
    with RedisServer(newest_server(), tmp_path / "redis") as server:
        made = make_stub_run(tmp_path / "run", redis={"url": server.url}, drift=DRIFT, promotion={"every_steps": 10})
        yield made
        made.end()


@pytest.mark.slow
def test_every_label_is_seen_or_counted_as_missed_and_nothing_is_held_back(run: StubRun) -> None:
    store = DriftStore(open_store(run.folder / "registry"))

    def windows() -> int:
        newest = store.newest_window()
        return newest.number if newest else 0

    first = run.start("watch")
    run.until(lambda: run.readiness("watch")[0] == 200, what="the monitor being ready")
    roles = run.start_all()
    run.until(lambda: windows() >= 3, what="three windows")
    first.kill()
    first.join(20)
    assert first.exitcode == -signal.SIGKILL
    run.processes.remove(first)
    before = windows()
    monitor = run.start("watch")
    run.until(lambda: windows() > before, what="the next monitor going on")
    run.finish(roles)
    monitor.terminate()
    monitor.join(30)
    assert monitor.exitcode == 0, run.said()

    run.check_each_trained_once()
    newest = store.newest_window()
    assert newest is not None
    with connect(run.config.redis, run.config.queue, run_folder=run.folder) as queue:
        stats = queue.stats()
    assert stats.drained
    assert newest.labels_seen + newest.labels_missed == stats.labels_committed, "those labelled again included"
    assert stats.labels_acknowledged == len(run.usable)
    records = store.windows()
    assert [one.number for one in records] == list(range(1, newest.number + 1))
    assert sum(one.num_labels for one in records) == newest.labels_seen
    assert newest.labels_seen > stats.labels_committed / 2, "checkpoints come four times a second here"
    assert {word.word for one in records for word in one.words} == {"dog", "cat", "car", "umbrella", "cup", "table"}
    reference = store.reference("frozen")
    assert reference is not None
    assert set(reference.left_out) == set(), "labelers fill in all that is watched"
    assert {bins.quantity for bins in reference.layout.bins} >= {"nouns_per_caption", "box_area_share", "word"}
