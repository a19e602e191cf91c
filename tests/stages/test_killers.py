"""A sample that kills whoever touches it is found and buried; all others come through, each trained once."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hostile_roles import SAMPLES, HostileRun, hostile_run, process_state, until


def _letters(run: HostileRun) -> list[tuple[str, int, int]]:
    with run.queue() as queue:
        found = [(one.reason, one.sample.ordinal if one.sample else -1, one.attempts) for one in queue.dead_letters()]
        assert all(one.place and one.detail for one in queue.dead_letters())
    return found


def _trained_once_but(run: HostileRun, *killers: int) -> None:
    counts, ledger, _ = run.checkpoint()
    assert counts == [0 if number in killers else 1 for number in range(SAMPLES)]
    with run.queue() as queue:
        report = queue.audit(ledger)
        assert report.ok, report.problems()
        assert queue.edge.client.hlen(queue.keys.failures) == 0
        assert queue.stats().drained


@pytest.mark.slow
@pytest.mark.parametrize("place", ["decode", "step"])
def test_a_label_that_kills_its_trainers_is_buried_after_so_many_trials(tmp_path: Path, place: str) -> None:
    with hostile_run(tmp_path) as run:
        assert run.label() == 0
        deaths = run.train(hostile=f"kill:{place}:13")
        assert deaths == 2 + run.config.queue.max_attempts, "two before it is suspected, and each trial"
        assert _letters(run) == [("kills_trainer", 13, 3)]
        _trained_once_but(run, 13)


@pytest.mark.slow
def test_trainers_killed_for_other_reasons_bury_nothing_and_the_slow_mode_ends_by_itself(tmp_path: Path) -> None:
    with hostile_run(tmp_path) as run:
        assert run.label() == 0
        for _ in range(6):
            assert run.live("train", crash_at="trainer.after_step:2") == -signal.SIGKILL
        suspects = len(run.logged("suspect"))
        assert suspects > 0, "nothing was ever suspected: this tests nothing"
        assert run.live("train") == 0
        assert _letters(run) == []
        _trained_once_but(run)
        assert len(run.logged("suspect")) - suspects < SAMPLES
        assert run.checkpoint()[2].step < SAMPLES, "the labels that nobody died with are trained in full batches"


@pytest.mark.slow
def test_a_trainer_told_to_stop_while_it_tries_a_suspect_does_not_blame_it(tmp_path: Path) -> None:
    with hostile_run(tmp_path, queue={"max_attempts": 1}) as run:
        assert run.label() == 0
        for _ in range(2):  # both hold the same four labels: reading ahead must not decide which become suspects
            assert run.live("train", crash_at="trainer.after_read") == -signal.SIGKILL
        frozen = run.start("train", crash_at="trainer.after_step:2:stop")  # in the second step a suspect is alone
        assert frozen.pid is not None
        until(lambda: process_state(frozen) == "T", what="the freeze")
        assert len(run.logged("suspect")) == 1
        os.kill(frozen.pid, signal.SIGTERM)
        os.kill(frozen.pid, signal.SIGCONT)
        frozen.join(60)
        assert frozen.exitcode == 0
        assert run.live("train") == 0
        assert _letters(run) == []
        _trained_once_but(run)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["read", "label"])
def test_a_sample_that_kills_its_labelers_is_passed_over(tmp_path: Path, place: str) -> None:
    with hostile_run(tmp_path) as run:
        assert run.label(hostile=f"kill:{place}:13") <= 4 + run.config.queue.max_attempts
        assert _letters(run) == [("kills_labeler", 13, 3)]
        with run.queue() as queue:
            (row,) = queue.shard_rows()
            (letter,) = queue.dead_letters()
        assert letter.place.startswith(row.url)
        assert letter.place.rpartition("@")[2].isdigit()
        assert (row.state, row.ordinal, row.labels, row.tried) == ("finished", SAMPLES, SAMPLES - 1, 0)
        # One by one up to the killer at the most, and behind it in batches again.
        assert row.sequence <= 14 + 1 + (SAMPLES - 14) // 4 + 1
        assert run.live("train") == 0
        _trained_once_but(run, 13)


@pytest.mark.slow
def test_the_first_and_the_last_sample_of_a_shard_may_kill_too(tmp_path: Path) -> None:
    with hostile_run(tmp_path, queue={"max_attempts": 1, "lease_ttl_s": 0.5}) as run:
        run.label(hostile=f"kill:read:0,{SAMPLES - 1}")
        assert _letters(run) == [("kills_labeler", 0, 1), ("kills_labeler", SAMPLES - 1, 1)]


@pytest.mark.slow
def test_a_sample_whose_relabelling_kills_is_buried_and_the_others_are_relabelled(tmp_path: Path) -> None:
    with hostile_run(tmp_path) as run:
        assert run.label() == 0
        with run.queue() as queue:
            queue.raise_epoch()
            assert queue.give_back(queue.read("r", count=SAMPLES), reason="stale").moved == SAMPLES
        assert run.label(hostile="kill:label:13") == 2 + run.config.queue.max_attempts
        assert _letters(run) == [("kills_labeler", 13, 3)]
        with run.queue() as queue:
            assert queue.edge.client.hlen(queue.keys.relabel_troubles) == 0
        assert run.live("train") == 0
        _trained_once_but(run, 13)
