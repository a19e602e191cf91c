from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.stub.corpus import write_stub_corpus
from benchmarks.stub.measured_roles import measured_roles, stub_config
from xpm_stream.config.queue_sections import RedisConfig
from xpm_stream.label_queue import LabelQueue, connect, start_or_join

SAMPLES = 64
PATIENCE_S = 60.0


@contextmanager
def waiting_labeler(folder: Path, *, lease_ttl_s: float) -> Iterator[LabelQueue]:
    """A real labeler whose labels nobody trains, so that it waits for capacity after its first batch."""
    write_stub_corpus(folder / "corpus", shards=1, samples_per_shard=SAMPLES)
    with start_or_join(RedisConfig(), run_folder=folder / "run") as server:
        queue_section = {"max_unacked_labels": 16, "lease_ttl_s": lease_ttl_s}
        config = stub_config(folder, redis_url=server.url, sections={"queue": queue_section})
        with (
            measured_roles(config, samples=SAMPLES) as roles,
            connect(config.redis, config.queue, run_folder=folder / "run") as queue,
        ):
            roles.start("promote")
            roles.start("label")
            roles.begin()
            wait_until(lambda: queue.capacity().labels_left <= 0)
            yield queue


def wait_until(reached: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not reached():
        assert time.monotonic() < deadline_s, "not reached in time"
        time.sleep(0.02)


def calls(queue: LabelQueue, command: str) -> int:
    return int(queue.edge.client.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"])


@pytest.mark.slow
def test_a_labeler_that_waits_for_capacity_does_not_renew_its_lease_at_every_look(tmp_path: Path) -> None:
    with waiting_labeler(tmp_path, lease_ttl_s=120) as queue:
        looks, renewals = calls(queue, "xlen"), calls(queue, "zadd")
        wait_until(lambda: calls(queue, "xlen") >= looks + 30)
        assert calls(queue, "zadd") - renewals <= 1, "a lease is renewed every third of its length"


@pytest.mark.slow
def test_a_labeler_that_waits_for_capacity_keeps_its_lease(tmp_path: Path) -> None:
    lease_ttl_s = 5.0
    with waiting_labeler(tmp_path, lease_ttl_s=lease_ttl_s) as queue:
        (row,) = queue.shard_rows()
        assert row.expires_ms is not None
        first_deadline_ms, labels = row.expires_ms, row.labels

        def renewed() -> bool:
            (row,) = queue.shard_rows()
            assert row.expires_ms is not None
            return row.expires_ms > first_deadline_ms + 2 * 1000 * lease_ttl_s

        wait_until(renewed)
        assert queue.acquire("another") is None
        assert queue.stats().labels_committed == labels
