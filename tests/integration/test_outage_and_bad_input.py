"""Shards with everything wrong, and a Redis that is killed in mid-run and comes back: the run completes and adds up."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bad_corpus
import pytest
import redis
from processes import Run, check_finished, until
from small_runs import CAPTION_IMAGES, MakeRun

from xpm_stream.label_queue import connect
from xpm_stream.label_queue.embedded import find_redis_server

PASSES = 2


@dataclass
class OwnRedis:
    """A redis-server of the test's own, as an operator would run it: on a socket, with its append-only file."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.folder}/r.sock"

    def start(self) -> None:
        options = {"port": "0", "unixsocket": f"{self.folder}/r.sock", "dir": str(self.folder), "save": ""}
        durable = {"appendonly": "yes", "appendfsync": "always", "logfile": f"{self.folder}/redis.log"}
        arguments = [part for name, value in {**options, **durable}.items() for part in (f"--{name}", value)]
        self.process = subprocess.Popen([str(find_redis_server()), *arguments])
        until(self._answers, what="redis-server answering")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def _answers(self) -> bool:
        with redis.Redis.from_url(self.url) as client:
            try:
                return bool(client.ping())
            except redis.exceptions.RedisError:
                return False


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnRedis]:
    folder = tmp_path_factory.mktemp("r")
    server = OwnRedis(folder)
    server.start()
    yield server
    server.kill()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def run(make_run: MakeRun, data: dict[str, Any], untrained_teacher: str, own_redis: OwnRedis) -> Run:
    folder = Path(own_redis.folder)
    bad_corpus.write_bad_shard(folder / "bad.tar")
    bad_corpus.write_truncated_shard(folder / "cut.tar")
    (folder / "empty.tar").write_bytes(b"")
    shards = [f"{folder}/{{bad,cut,empty}}.tar", *data["shards"]]
    return make_run(
        "outage",
        data={**data, "shards": shards, "passes": PASSES},
        teacher={"checkpoint": untrained_teacher},
        redis={"url": own_redis.url, "retry_for_s": 120.0, "connect_timeout_s": 2.0},
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_with_bad_shards_survives_a_redis_that_dies_and_comes_back(run: Run, own_redis: OwnRedis) -> None:
    run.start("teach").succeeds()
    roles = [run.start("promote"), run.start("label"), run.start("train")]
    until(lambda: run.logged("trainer", "checkpoint"), what="the first checkpoint")
    own_redis.kill()
    until(lambda: run.logged("trainer", "waiting for Redis"), what="the trainer noticing the outage")
    own_redis.start()
    promoter, labeler, trainer = roles
    trainer.succeeds()
    labeler.succeeds()
    assert promoter.stop() == 0

    once = CAPTION_IMAGES + bad_corpus.SAMPLES + bad_corpus.WHOLE_IN_TRUNCATED
    audit = check_finished(run.account(), samples=PASSES * once)
    bad, cut, empty = (
        [row for row in audit.rows if row.url.endswith(name)] for name in ("bad.tar", "cut.tar", "empty.tar")
    )
    assert [len(rows) for rows in (bad, cut, empty)] == [PASSES] * 3
    for row in bad:
        assert row.trained == bad_corpus.USABLE
        assert row.skipped_by_reason == {"no_nouns": bad_corpus.NOUNLESS}
        assert row.dead_by_reason == bad_corpus.REASONS
    for row in cut:
        assert (row.samples, row.trained) == (bad_corpus.WHOLE_IN_TRUNCATED, bad_corpus.WHOLE_IN_TRUNCATED)
    for row in empty:
        assert row.samples == 0
    assert audit.totals()["dead"] == PASSES * sum(bad_corpus.REASONS.values())


@pytest.mark.slow
def test_every_rejected_sample_says_which_it_is_and_why(run: Run) -> None:
    rejected = run.logged("labeler-0", "rejected")
    assert {event["reason"] for event in rejected} == set(bad_corpus.REASONS)
    assert any("gigantic" in event["detail"] for event in rejected)


@pytest.mark.slow
def test_the_cut_shard_is_noted_with_its_damage(run: Run) -> None:
    config = run.config
    with connect(config.redis, config.queue, run_folder=run.folder) as queue:
        notes = {row.url.rpartition("/")[2]: row.note for row in queue.shard_rows()}
    assert "truncated" in str(notes["cut.tar"])
