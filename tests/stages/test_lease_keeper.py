"""Leases are kept by a thread of their own while the labeler works, and no longer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hostile_roles import hostile_run, until

from xpm_stream.errors import LeaseLost, QueueUnavailable
from xpm_stream.label_queue import CommitBatch, Cursor, ShardRecord
from xpm_stream.records import ShardId
from xpm_stream.stages.lease_keeper import LeaseKeeper
from xpm_stream.stages.watchdog import EXIT_STALLED

SHARD = ShardRecord(url="file:///s.tar", shard_id=ShardId("s"), size_bytes=1)


class _Renewals:
    """Counts; raises what it is told to, once."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.error: Exception | None = None

    def __call__(self) -> None:
        self.times.append(time.monotonic())
        error, self.error = self.error, None
        if error is not None:
            raise error


def test_several_leases_are_renewed_each_at_its_own_pace_until_they_are_let_go() -> None:
    often, seldom = _Renewals(), _Renewals()
    with LeaseKeeper() as keeper, keeper.keep(seldom, ttl_s=3600):
        with keeper.keep(often, ttl_s=0.03) as kept:
            until(lambda: len(often.times) >= 5, what="renewals")
            kept.check()
        renewed = len(often.times)
        another = _Renewals()
        with keeper.keep(another, ttl_s=0.03):
            until(lambda: len(another.times) >= 5, what="renewals of another")
        assert len(often.times) <= renewed + 1, "one may have been under way"
        assert seldom.times == []


def test_a_lost_lease_is_told_to_the_working_thread_and_renewed_no_more() -> None:
    lost, other = _Renewals(), _Renewals()
    lost.error = LeaseLost("it is another's")
    with LeaseKeeper() as keeper, keeper.keep(lost, ttl_s=0.03) as kept, keeper.keep(other, ttl_s=0.03) as held:
        until(lambda: len(other.times) >= 5, what="renewals of the other")
        assert len(lost.times) == 1
        with pytest.raises(LeaseLost, match="another's"):
            kept.check()
        held.check()


def test_a_renewal_that_redis_did_not_answer_is_tried_again() -> None:
    renewals = _Renewals()
    renewals.error = QueueUnavailable("away")
    with LeaseKeeper() as keeper, keeper.keep(renewals, ttl_s=0.03) as kept:
        until(lambda: len(renewals.times) >= 3, what="further renewals")
        kept.check()


def test_an_error_nobody_thought_of_reaches_the_working_thread() -> None:
    renewals = _Renewals()
    renewals.error = KeyError("a mistake of ours")
    with LeaseKeeper() as keeper, keeper.keep(renewals, ttl_s=0.03) as kept:
        until(lambda: renewals.times and kept.error, what="the error")
        with pytest.raises(KeyError, match="a mistake of ours"):
            kept.check()


@pytest.mark.slow
def test_the_lease_of_a_labeler_that_hangs_is_kept_until_its_watchdog_ends_it_and_then_free(tmp_path: Path) -> None:
    with hostile_run(tmp_path, trainer={"stall_timeout_s": 6.0}) as run, run.queue() as queue:
        started = time.monotonic()
        labeler = run.start("label", hostile="hang:label:13")
        until(lambda: queue.stats().labels_committed, what="the first labels")
        held_for_s = 0.0
        while labeler.exitcode is None:
            taken = queue.acquire("other")
            assert taken is None or labeler.exitcode is not None, "the lease lasts 1 s"
            held_for_s = time.monotonic() - started
            time.sleep(0.05)
        assert labeler.exitcode == EXIT_STALLED
        assert held_for_s > 3.0, "several times the lease"
        until(lambda: queue.acquire("other"), what="the shard being free")


@pytest.mark.slow
def test_a_queue_is_safe_to_renew_from_one_thread_while_another_commits(tmp_path: Path) -> None:
    with hostile_run(tmp_path) as run, run.queue() as queue:
        queue.add_shards([SHARD])
        lease = queue.acquire("one")
        assert lease is not None
        ended = threading.Event()
        calls: list[Callable[[], Any]] = [partial(queue.renew, lease), queue.capacity, queue.ping, queue.stats]
        with ThreadPoolExecutor(len(calls)) as pool:
            others = [pool.submit(_again_and_again, call, ended) for call in calls]
            for ordinal in range(300):
                batch = CommitBatch(cursor=Cursor(ordinal + 1, 512 * ordinal), skips={"no_nouns": [ordinal]})
                lease = queue.commit(lease, batch)
            ended.set()
            assert min(other.result() for other in others) > 0
        (row,) = queue.shard_rows()
        assert (row.ordinal, row.sequence) == (300, 300)


def _again_and_again(call: Callable[[], Any], ended: threading.Event) -> int:
    times = 0
    while not ended.is_set():
        call()
        times += 1
    return times
