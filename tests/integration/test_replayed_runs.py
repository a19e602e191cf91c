"""Replay on runs of real processes: what comes back is extra, counted, and nothing of the delivery changes by it."""

from __future__ import annotations

import json
import socket
from multiprocessing.context import ForkServerProcess
from typing import Any

import numpy as np
import pytest
from processes import check_finished
from stub_runs import MakeStubRun, StubRun

from benchmarks.stub.counting import times_trained
from xpm_stream.learning.reservoir_state import ReservoirState
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.stages.replay_file import REPLAY, read_reservoirs
from xpm_stream.stages.run_account import account_of, last_training_state

SAMPLES = 400
SETTINGS: dict[str, Any] = {
    "shards": 1,
    "samples_per_shard": SAMPLES,
    "trainer": {"replay_images": 4, "replay_per_word": 6},
    "labeler": {"teacher_poll_s": 0.1},
}


def _last_files(run: StubRun) -> dict[str, bytes]:
    store = CheckpointStore(f"{run.folder}/registry/resume")
    latest = store.latest()
    assert latest is not None
    return dict(store.read(latest.name))


def _reservoir(run: StubRun) -> ReservoirState:
    (state,) = read_reservoirs(_last_files(run), name="last")
    return state


def _check_extra(run: StubRun, *, dealt: bool = False) -> None:
    """Each usable sample once and besides as often as the tally says; the audit is that of a run without replay."""
    training, ledger = last_training_state(run.config)
    counts = times_trained(_last_files(run))
    assert training.samples_replayed > 0
    assert counts.sum() == len(run.usable) + training.samples_replayed
    assert counts[run.usable].min() >= 1
    assert not np.delete(counts, run.usable).any()
    assert len(ledger) == training.samples_trained == len(run.usable)
    check_finished(account_of(run.config), samples=run.samples)
    assert account_of(run.config).counts().replayed == training.samples_replayed
    state = _reservoir(run)
    # Dealt out to another number of ranks, it counts on from one of theirs.
    assert dealt or state.added == len(run.usable), "each sample enters when it is booked, and only then"
    assert all(kept.sample in ledger for kept in state.samples)
    replayed_often = [int(count) for count in counts if count > 1]
    assert len(replayed_often) >= len(state.words)


def test_what_is_replayed_is_extra_and_counted(stub_run: MakeStubRun) -> None:
    run = stub_run(method="NotesWords", **SETTINGS)
    run.finish(run.start_all())
    _check_extra(run)
    noted = json.loads(_last_files(run)["vocabulary.json"])["noted"]
    assert noted == len(run.usable), "words of replayed samples are noted once, when they were new"


def test_with_replay_off_a_checkpoint_has_no_reservoir(stub_run: MakeStubRun) -> None:
    run = stub_run(**{**SETTINGS, "trainer": {}})
    run.finish(run.start_all())
    run.check_each_trained_once()
    assert REPLAY not in _last_files(run)
    assert last_training_state(run.config)[0].samples_replayed == 0


def test_a_trainer_killed_between_steps_goes_on_with_the_reservoir_of_its_checkpoint(stub_run: MakeStubRun) -> None:
    run = stub_run(**SETTINGS)
    roles = {"promote": run.start("promote"), "label": run.start("label")}
    run.environment["XPM_STREAM_CRASH_AT"] = "trainer.after_step:10"
    killed = run.start("train")
    killed.join(60)
    assert killed.exitcode == -9, run.said()
    run.processes.remove(killed)
    trained = len(last_training_state(run.config)[1])
    kept = _reservoir(run)
    assert 0 < kept.added == trained < len(run.usable)

    del run.environment["XPM_STREAM_CRASH_AT"]
    roles["train"] = run.start("train")
    run.finish(roles)
    starts = [(event["samples"], event["words"]) for event in run.log("train", "replay")]
    assert starts == [(0, 0), (len(kept.samples), len(kept.words))]
    _check_extra(run)


@pytest.mark.parametrize("now", [0, 4])
def test_replay_can_be_switched_on_and_off_at_a_resume_and_says_so(stub_run: MakeStubRun, now: int) -> None:
    before = 4 - now
    run = stub_run(**{**SETTINGS, "trainer": {"replay_images": before, "steps": 6}})
    roles = {"promote": run.start("promote"), "label": run.start("label")}
    first = run.start("train")
    first.join(60)
    assert first.exitcode == 0, run.said()
    assert (REPLAY in _last_files(run)) == bool(before)

    trainer = run.config.trainer.model_copy(update={"replay_images": now, "steps": 12})
    run.config = run.config.model_copy(update={"trainer": trainer})
    second = run.start("train")
    second.join(60)
    assert second.exitcode == 0, run.said()
    said = "the checkpoint has no samples to replay: the reservoir starts empty"
    dropped = "trainer.replay_images is 0: the checkpoint's reservoir is dropped"
    assert [len(run.log("train", line)) for line in (said, dropped)] == ([1, 0] if now else [0, 1])
    assert (REPLAY in _last_files(run)) == bool(now)
    for role in roles.values():
        role.terminate()
        role.join(30)


def _start_ranks(run: StubRun, size: int) -> list[ForkServerProcess]:
    """As a launcher of several ranks starts them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    plain, ranks = run.environment, []
    for number in range(size):
        run.environment = {**plain, **shared, "RANK": str(number), "LOCAL_RANK": str(number)}
        ranks.append(run.start("train"))
    run.environment = plain
    return ranks


def test_two_ranks_leave_both_reservoirs_to_the_one_that_goes_on(stub_run: MakeStubRun) -> None:
    settings = {**SETTINGS, "trainer": {**SETTINGS["trainer"], "steps": 8, "batch_captions": 8}}
    run = stub_run(**settings)
    roles = {"promote": run.start("promote"), "label": run.start("label")}
    for rank in _start_ranks(run, 2):
        rank.join(90)
        assert rank.exitcode == 0, run.said()
    training, ledger = last_training_state(run.config)
    states = read_reservoirs(_last_files(run), name="last")
    assert [bool(state.samples) for state in states] == [True, True]
    assert sum(state.added for state in states) == len(ledger)
    counts = times_trained(_last_files(run))
    assert training.samples_replayed > 0
    assert counts.sum() == len(ledger) + training.samples_replayed, "what both ranks replayed is counted"

    run.config = run.config.model_copy(update={"trainer": run.config.trainer.model_copy(update={"steps": 0})})
    roles["train"] = run.start("train")
    run.finish(roles)
    held = {kept.sample for state in states for kept in state.samples}
    started = run.log("train", "replay")[-1]
    # Two reservoirs of six a word make one of six a word.
    assert 0 < started["samples"] <= len(held)
    assert started["words"] == len({word for state in states for word in state.words})
    _check_extra(run, dealt=True)
