"""Killed, frozen and restarted roles, in real processes, by Redis' own clock."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from hostile_roles import SAMPLES, HostileRun, hostile_run, process_state, until

from xpm_stream.config.data_sections import DataConfig
from xpm_stream.data.tar_reading import TarSample, read_samples
from xpm_stream.label_queue import LabelQueue


def _redis_ms(queue: LabelQueue) -> int:
    seconds, microseconds = queue.edge.client.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


def _frozen_labeler(run: HostileRun, *, at: str) -> tuple[int, int]:
    """Start a labeler that freezes while it holds the shard; return its process and its lease's deadline."""
    labeler = run.start("label", crash_at=f"{at}:stop")
    until(lambda: process_state(labeler) == "T", what="the freeze")
    with run.queue() as queue:
        (row,) = queue.shard_rows()
    assert labeler.pid is not None
    assert row.state == "leased"
    assert row.expires_ms is not None
    return labeler.pid, row.expires_ms


@pytest.mark.slow
def test_the_shard_of_a_killed_labeler_is_free_when_its_lease_ends_and_not_before(tmp_path: Path) -> None:
    with hostile_run(tmp_path, queue={"lease_ttl_s": 2.0}) as run, run.queue() as queue:
        pid, deadline_ms = _frozen_labeler(run, at="labeler.after_commit:2")
        os.kill(pid, signal.SIGKILL)
        while (lease := queue.acquire("other")) is None:
            time.sleep(0.01)
        assert 0 <= _redis_ms(queue) - deadline_ms <= 1000
        assert (lease.cursor.ordinal, lease.takeovers) == (8, 1)


@pytest.mark.slow
def test_a_labeler_frozen_past_its_deadline_cannot_write_though_nobody_took_its_shard(tmp_path: Path) -> None:
    with hostile_run(tmp_path) as run, run.queue() as queue:
        pid, deadline_ms = _frozen_labeler(run, at="labeler.after_label:3")
        until(lambda: _redis_ms(queue) > deadline_ms, what="the deadline")
        (before,) = queue.shard_rows()
        os.kill(pid, signal.SIGCONT)
        (lost,) = until(lambda: run.logged("lease lost: the batch is dropped"), what="the refusal")
        assert "expired" in lost["reason"]
        # It leases the shard anew and goes on where the last commit was.
        (_, again) = until(lambda: len(taken := run.logged("shard taken")) > 1 and taken, what="another lease")
        assert (again["ordinal"], again["token"]) == (before.ordinal, before.token + 1)
        until(lambda: queue.stats().shards_finished, what="the end of the shard")
        assert queue.stats().labels_committed == SAMPLES


@pytest.mark.slow
def test_labels_that_grew_stale_while_no_trainer_ran_are_given_back_and_not_trained(tmp_path: Path) -> None:
    with hostile_run(tmp_path, trainer={"max_teacher_lag": 1}, promotion={"every_steps": 1000}) as run:
        assert run.label() == 0
        assert run.live("train", crash_at="trainer.after_step:3") == -signal.SIGKILL
        run.promote()
        run.promote()
        labeler, trainer = run.start("label"), run.start("train")
        for process in (trainer, labeler):
            process.join(60)
            assert process.exitcode == 0
        counts, _, state = run.checkpoint()
        assert counts == [1] * SAMPLES
        assert state.samples_relabelled == SAMPLES, "each was sent back once"
        assert {teacher: tally.samples for teacher, tally in state.by_teacher.items()} == {"3": SAMPLES}


@pytest.mark.slow
def test_labels_of_a_teacher_revoked_while_no_trainer_ran_are_not_trained(tmp_path: Path) -> None:
    with hostile_run(tmp_path, promotion={"every_steps": 1000}) as run:
        run.promote()
        assert run.label() == 0
        run.promotions.append("revoke", target=2, by="test")
        labeler, trainer = run.start("label"), run.start("train")
        for process in (trainer, labeler):
            process.join(60)
            assert process.exitcode == 0
        counts, _, state = run.checkpoint()
        assert counts == [1] * SAMPLES
        assert "2" not in state.by_teacher
        assert state.samples_relabelled == SAMPLES


@pytest.mark.slow
def test_relabelling_waits_for_a_store_that_is_away_and_gives_up_in_the_end(tmp_path: Path) -> None:
    with hostile_run(tmp_path, data={"payload": "reference"}) as run, run.queue() as queue:
        labeler = run.start("label")
        until(lambda: queue.stats().shards_finished, what="the first labels")
        queue.raise_epoch()
        held = queue.read("r", count=SAMPLES)
        away = run.shard.rename(run.shard.with_name("away"))
        queue.give_back(held[:2], reason="stale")
        until(lambda: len(run.logged("put off")) >= 2, what="a first attempt at both")
        away.rename(run.shard)
        until(lambda: queue.stats().relabels == 0, what="the labels")
        assert list(queue.dead_letters()) == []
        assert queue.edge.client.hlen(queue.keys.relabel_troubles) == 0
        run.shard.rename(away)
        queue.give_back(held[2:3], reason="stale")
        until(lambda: queue.stats().dead_letters, what="the dead letter")
        (letter,) = queue.dead_letters()
        assert (letter.reason, letter.attempts, letter.sample) == ("image_unavailable", 3, held[2].sample)
        labeler.terminate()
        labeler.join(60)
        assert labeler.exitcode == 0


def _bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_resuming_a_shard_of_ten_megabytes_reads_what_is_left_and_under_one_percent_more(
    tmp_path: Path, share: float
) -> None:
    from caption_shards import write_shard

    size = write_shard(tmp_path / "s.tar", samples=500, image_bytes=20_000)
    assert size > 10_000_000
    samples = list(read_samples(f"file://{tmp_path}/s.tar", config=DataConfig()))
    at = samples[int(len(samples) * share)]
    assert isinstance(at, TarSample)
    before = _bytes_read()
    rest = list(
        read_samples(f"file://{tmp_path}/s.tar", config=DataConfig(), start_offset=at.offset, start_ordinal=at.ordinal)
    )
    read = _bytes_read() - before
    assert len(rest) == len(samples) - at.ordinal
    left = size - at.offset
    assert 0.9 * left < read < left + size / 100
