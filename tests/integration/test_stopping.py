"""SIGTERM in every state a role may be in: it leaves in time and well, and the run goes on as if nothing had been."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import psutil
import pytest
from redis_servers import RedisServer, free_ports, newest_server
from stub_runs import ROLES, StubRun, make_stub_run

from xpm_stream.crash_points import CRASH_POINTS
from xpm_stream.stages.watchdog import EXIT_STALLED

CRASH_VARIABLE = "XPM_STREAM_CRASH_AT"
# Below every role's own stop_timeout_s, which would end it with another status. A loaded machine needs a part of it.
WITHIN_S = 40.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    made = RedisServer(newest_server(), tmp_path / "redis")
    yield made
    made.stop()


@pytest.fixture
def run(server: RedisServer, tmp_path: Path) -> Iterator[StubRun]:
    redis = {"url": server.url, "connect_timeout_s": 1.0, "retry_for_s": 3600.0}
    made = make_stub_run(tmp_path / "stub", redis=redis, shards=4, samples_per_shard=200, pace_ms=20)
    yield made
    made.end()


def leaves_when_told(run: StubRun, roles: Sequence[ForkServerProcess], *, state: str) -> None:
    """Told all at once; each ends with status 0."""
    told_s = time.monotonic()
    for role in roles:
        role.terminate()
        if psutil.Process(role.pid).status() == psutil.STATUS_STOPPED:
            os.kill(role.pid, signal.SIGCONT)
    for role in roles:
        role.join(max(0.0, told_s + WITHIN_S - time.monotonic()))
        assert role.exitcode == 0, f"{state}: {role.exitcode} after {time.monotonic() - told_s:.0f} s\n{run.said()}"


def frozen_at(run: StubRun, kind: str, place: str) -> ForkServerProcess:
    """A role that is frozen in the middle of something."""
    assert place.partition(":")[0] in CRASH_POINTS
    run.environment[CRASH_VARIABLE] = f"{place}:stop"
    role = run.start(kind)
    del run.environment[CRASH_VARIABLE]
    run.until(lambda: psutil.Process(role.pid).status() == psutil.STATUS_STOPPED, what=f"{kind} at {place}")
    return role


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_role_leaves_in_time_from_every_state_and_nothing_is_lost(run: StubRun, server: RedisServer) -> None:
    roles = [run.start(kind) for kind in ROLES]
    for kind in ROLES:
        run.until(lambda kind=kind: run.waits(kind), what=f"{kind} waiting for Redis")
        status, text = run.readiness(kind)
        assert (status, "Redis has not answered yet" in text) == (503, True), text
    leaves_when_told(run, roles, state="waiting for a Redis that was never there")

    server.start()
    roles = [run.start("label"), run.start("train")]
    for kind in ("label", "train"):
        run.until(lambda kind=kind: "no teacher is" in run.readiness(kind)[1], what=f"{kind} without a teacher")
    leaves_when_told(run, roles, state="before there is a teacher")

    leaves_when_told(run, [frozen_at(run, "promote", "promoter.before_log:1")], state="judging a candidate")
    assert run.log("promote", "promote"), "the candidate it had in hand is not judged"

    for place in ("labeler.after_lease:1", "labeler.after_label:1", "labeler.after_commit:1"):
        leaves_when_told(run, [frozen_at(run, "label", place)], state=place)

    labeler = run.start("label")
    run.until(lambda: run.queued() >= 256, what="a labeler that waits for capacity")
    leaves_when_told(run, [labeler], state="waiting for capacity")

    trained = 0
    for place in (
        *("trainer.after_epoch:1", "trainer.after_settle:1", "trainer.after_read:1", "trainer.after_step:1"),
        *("checkpoint.after_first_file:1", "checkpoint.before_publish:1"),
        *("trainer.after_checkpoint_before_ack:1", "trainer.after_ack:1"),
    ):
        leaves_when_told(run, [frozen_at(run, "train", place)], state=place)
        assert run.trained() >= trained, "what it had trained is not in its checkpoint"
        trained = run.trained()
    assert trained >= 16

    roles = [run.start(kind) for kind in ROLES]
    for kind in ROLES:
        run.until(lambda kind=kind: run.readiness(kind)[0] == 200, what=f"{kind} at work")
    waited = {kind: len(run.waits(kind)) for kind in ROLES}
    server.freeze()
    for kind in ("label", "train"):
        run.until(lambda kind=kind: len(run.waits(kind)) > waited[kind], what=f"{kind} waiting for a frozen Redis")
    leaves_when_told(run, roles, state="while Redis is frozen")
    server.thaw()

    run.finish(run.start_all())
    run.check_each_trained_once()


@pytest.mark.slow
def test_a_rank_that_waits_for_the_others_says_so_and_is_out_in_time_though_it_is_in_c(
    server: RedisServer, tmp_path: Path
) -> None:
    server.start()
    made = make_stub_run(tmp_path / "rank", redis={"url": server.url}, shards=1, trainer={"stop_timeout_s": 2.0})
    launcher = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_ports()[0])}
    made.environment |= launcher
    try:
        rank = made.start("train")
        what = "a rank that says what it lacks"
        made.until(lambda: "the other ranks have not joined yet" in made.readiness("train")[1], what=what)
        rank.terminate()
        rank.join(WITHIN_S)
        assert rank.exitcode == EXIT_STALLED, made.said()
        assert "told to stop, and still there 2 s later" in made.said()
        assert "rendezvous" in made.said(), "where it was"
    finally:
        made.end()
