"""A corpus that grows while real processes stream it: shards come, are rewritten, break, are mended, and come again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from processes import check_account, until
from stub_runs import ROLES, StubRun

from benchmarks.stub import corpus, counting
from xpm_stream.config import save_resolved
from xpm_stream.config.loading import parse_config
from xpm_stream.label_queue import LabelQueue, ShardRow, connect
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.stages.run_account import account_of
from xpm_stream.stages.run_folder import RunFolder

EACH = 40  # samples of a shard
SHARDS = 5
INTERVAL_S = 3.0


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    made = tmp_path / "incoming"
    made.mkdir()
    return made


@pytest.fixture
def run(tmp_path: Path, incoming: Path) -> Iterator[StubRun]:
    corpus.write_stub_shard(tmp_path / "first.tar", first=0, samples=EACH)
    tree = {
        "folder": str(tmp_path / "run"),
        "method": counting.METHOD,
        "optimiser": counting.COUNTING_OPTIMISER,
        "data": {"shards": [str(tmp_path / "first.tar")], "watch_interval_s": INTERVAL_S},
        "labeler": {"batch_images": 8, "threads": 1},
        "trainer": {"batch_base": 0, "batch_captions": 8, "checkpoint_every_steps": 4, "threads": 1},
        "promotion": {"every_steps": 1000, "poll_s": 0.2},
        "metrics": {"enabled": False},
    }
    config = parse_config(tree, source="test")
    folder = RunFolder.of(config)
    folder.create()
    save_resolved(config, folder.root)
    environment = {counting.SAMPLES_VARIABLE: str(SHARDS * EACH), "OMP_NUM_THREADS": "1"}
    os.environ.update(environment)
    corpus.propose_stub_teacher(config)
    made = StubRun(config, [], SHARDS * EACH, environment)
    yield made
    made.end()


@pytest.fixture
def queue(run: StubRun) -> Iterator[LabelQueue]:
    """Opened first, so that the embedded Redis is this process's."""
    with connect(run.config.redis, run.config.queue, run_folder=run.folder) as opened:
        yield opened


def command(*arguments: object) -> str:
    """Run `xpm-stream ARGUMENTS` in a process of its own."""
    answer = subprocess.run(
        [sys.executable, "-m", "xpm_stream.cli.main", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def rows_of(queue: LabelQueue, path: Path) -> list[ShardRow]:
    return sorted((row for row in queue.shard_rows() if row.url.endswith(f"/{path.name}")), key=lambda row: row.order)


def times(run: StubRun) -> list[int]:
    """How often the samples of each shard reached the last checkpoint, by its weights alone."""
    store = CheckpointStore(f"{RunFolder.of(run.config).registry_url(run.config)}/resume")
    latest = store.latest()
    assert latest is not None
    counts = counting.times_trained(store.read(latest.name)).reshape(SHARDS, EACH)
    assert np.all(counts == counts[:, :1]), "each sample of a shard as often as the others"
    return [int(count) for count in counts[:, 0]]


def drop(path: Path, *, shard: int) -> None:
    """Put a whole shard there in one step, as a writer that renames does."""
    partial = path.with_suffix(".partial")
    corpus.write_stub_shard(partial, first=shard * EACH, samples=EACH)
    partial.replace(path)


def write_slowly(path: Path, *, shard: int, seconds: float) -> Iterator[None]:
    """Write a shard piece by piece."""
    whole = path.with_suffix(".whole")
    corpus.write_stub_shard(whole, first=shard * EACH, samples=EACH)
    content = whole.read_bytes()
    started = time.monotonic()
    with path.open("wb") as file:
        written = 0
        while written < len(content):
            due = round(min(1.0, (time.monotonic() - started) / seconds) * len(content))
            file.write(content[written:due])
            file.flush()
            written = due
            yield
            time.sleep(0.05)  # the pace of the writer


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_shards_come_and_go_while_everything_runs(run: StubRun, queue: LabelQueue, incoming: Path) -> None:
    said = command("shards", "watch", run.folder, f"{incoming}/*.tar")
    assert "the run ends only after" in said
    roles = {kind: run.start(kind) for kind in ROLES}

    def trained(path: Path, *, versions: int = 1) -> bool:
        run.check_alive(roles)
        rows = rows_of(queue, path)
        return len(rows) == versions and rows[-1].state == "finished" and queue.stats().drained

    first = Path(run.config.data.shards[0])
    until(lambda: trained(first), what="the shard that was named at the start")
    assert times(run) == [1, 0, 0, 0, 0]

    # A shard dropped in is taken by the very processes that had nothing left to do.
    drop(incoming / "a.tar", shard=1)
    until(lambda: trained(incoming / "a.tar"), what="the shard that was dropped in")
    assert times(run) == [1, 1, 0, 0, 0]

    # One that is still being written is not taken, however many looks see it.
    for _ in write_slowly(incoming / "b.tar", shard=2, seconds=3 * INTERVAL_S):
        assert not rows_of(queue, incoming / "b.tar")
    until(lambda: trained(incoming / "b.tar"), what="the shard that was written slowly")
    assert times(run) == [1, 1, 1, 0, 0]

    # Rewritten, it is a new shard: what it held before stays trained once.
    drop(incoming / "a.tar", shard=3)
    until(lambda: trained(incoming / "a.tar", versions=2), what="the shard that was rewritten")
    assert times(run) == [1, 1, 1, 1, 0]
    assert len({row.shard_id for row in rows_of(queue, incoming / "a.tar")}) == 2

    _break_mend_and_replay(run, queue, incoming / "c.tar")
    until(lambda: trained(incoming / "c.tar"), what="the replayed samples")
    assert times(run) == [1, 1, 1, 1, 1]

    # A further pass is accounted on its own; the rewritten shard's first version is no more.
    assert "1 shard added" in command("shards", "again", run.folder, "b.tar")
    until(lambda: trained(incoming / "b.tar", versions=2), what="the further pass")
    assert times(run) == [1, 1, 2, 1, 1]

    command("shards", "watch", run.folder, "--stop", f"{incoming}/*.tar")
    run.finish(roles)
    audit = check_account(account_of(run.config))
    assert audit.totals()["trained"] == audit.totals()["samples"] == 6 * EACH


def _break_mend_and_replay(run: StubRun, queue: LabelQueue, path: Path) -> None:
    """A store gave broken images; mended, `dead replay` has them read and labelled again."""
    partial = path.with_suffix(".partial")
    corpus.write_stub_shard(partial, first=4 * EACH, samples=EACH)
    content = partial.read_bytes()
    broken = content.replace(b"\x89PNG", b"\x00PNG", 3)
    partial.write_bytes(broken)
    partial.replace(path)
    until(lambda: queue.stats().dead_letters == 3 and queue.stats().drained, what="three dead letters")
    assert [letter.side for letter in queue.dead_letters()] == ["labeler"] * 3
    assert check_account(account_of(run.config)).totals()["dead"] == 3
    changed_ns = path.stat().st_mtime_ns
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(changed_ns, changed_ns))  # mended, not rewritten
    assert "3 of 3 replayed: 0 to the trainer, 3 to the labelers" in command("dead", "replay", run.folder, "--all")
    until(lambda: queue.stats().drained, what="the replayed samples being labelled and trained")
    assert check_account(account_of(run.config)).totals()["dead"] == 0
