"""How runs end: only the trainer finishes one, and whoever may still be needed stays. Proved by the weights."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from redis_servers import until
from stub_runs import MakeStubRun, StubRun, make_stub_run

from xpm_stream.config import save_resolved
from xpm_stream.label_queue import LabelQueue
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.stages.shard_registration import add_shards

pytestmark = pytest.mark.slow
OpenQueue = Callable[[StubRun], LabelQueue]
SOON_S = 60.0  # a run of hundreds of stub samples is over long before
A_WHILE_S = 3.0  # a role that may leave has looked several times by then


def finish(run: StubRun, *kinds: str) -> None:
    """Start roles and wait for their good ends."""
    for process in [run.start(kind) for kind in kinds]:
        process.join(SOON_S)
        assert process.exitcode == 0, run.said()


def last_checkpoint(run: StubRun) -> str:
    latest = CheckpointStore(f"{run.folder}/registry/resume").latest()
    assert latest is not None
    return latest.name


def test_labelers_name_their_shards_again_to_a_redis_that_was_emptied(
    stub_run: MakeStubRun, queue_of: OpenQueue
) -> None:
    run = stub_run(shards=2, samples_per_shard=400)
    queue = queue_of(run)
    run.start("promote")
    run.start("label")
    until(lambda: queue.stats().unacked_labels >= 256, what="a full budget", within_s=SOON_S)
    queue.edge.client.flushall()
    until(lambda: queue.stats().labels_committed, what="labels", within_s=SOON_S)
    finish(run, "train")
    run.check_each_trained_once()


def test_a_trainer_waits_for_shards_of_its_configuration_that_nobody_has_named_yet(stub_run: MakeStubRun) -> None:
    run = stub_run(shards=2, samples_per_shard=100)
    second = Path(run.config.data.shards[0]).parent / "shard-00001.tar"
    hidden = second.rename(second.with_suffix(".later"))
    run.start("promote")
    finish(run, "label", "train")
    hidden.rename(second)
    trainer = run.start("train")
    until(lambda: len(run.log("train", "trainer started")) == 2, what="the trainer", within_s=SOON_S)
    trainer.join(A_WHILE_S)
    assert trainer.exitcode is None, "it ended before any labeler came"
    finish(run, "label")
    trainer.join(SOON_S)
    run.check_each_trained_once()


def test_a_labeler_does_not_leave_before_the_trainer_has_returned_what_a_lost_checkpoint_held(
    stub_run: MakeStubRun,
) -> None:
    run = stub_run(shards=1, samples_per_shard=200)
    run.start("promote")
    finish(run, "label", "train")
    shutil.rmtree(run.folder / "registry" / "resume" / last_checkpoint(run))
    labeler = run.start("label")
    labeler.join(A_WHILE_S)
    assert labeler.exitcode is None, "it left by the mark of a trainer whose checkpoint is lost"
    finish(run, "train")
    labeler.join(SOON_S)
    assert labeler.exitcode == 0
    run.check_each_trained_once()


def test_a_labeler_started_after_the_end_leaves_and_one_that_finds_new_shards_waits_for_a_trainer(
    stub_run: MakeStubRun, queue_of: OpenQueue, tmp_path: Path
) -> None:
    run = stub_run(shards=2, samples_per_shard=100)
    second = Path(run.config.data.shards[0]).parent / "shard-00001.tar"
    later = second.rename(tmp_path / "later.tar")
    run.start("promote")
    finish(run, "label", "train")
    finish(run, "label")
    queue = queue_of(run)
    queue.raise_epoch()  # a trainer that died before it had settled
    labeler = run.start("label")
    labeler.join(A_WHILE_S)
    assert labeler.exitcode is None, "the next trainer may have something for it"
    add_shards(run.config, [str(later)])
    until(lambda: queue.stats().shards_finished == 2, what="the labels of the second shard", within_s=SOON_S)
    labeler.join(A_WHILE_S)
    assert labeler.exitcode is None, "nobody has trained its labels yet"
    finish(run, "train")
    labeler.join(SOON_S)
    assert labeler.exitcode == 0
    run.check_each_trained_once()


def test_labelers_leave_a_full_queue_when_the_trainer_has_done_its_steps(
    stub_run: MakeStubRun, queue_of: OpenQueue
) -> None:
    run = stub_run(shards=1, samples_per_shard=1000, trainer={"steps": 5})
    queue = queue_of(run)
    run.start("promote")
    labeler = run.start("label")
    finish(run, "train")
    labeler.join(SOON_S)
    assert labeler.exitcode == 0
    stats = queue.stats()
    assert (stats.shards_leased, stats.shards_pending) == (0, 1), "the shard it was reading is given back"
    finish(run, "label")
    assert queue.stats().labels_committed == stats.labels_committed, "there was nothing to do for it"
    # With more steps to do there is, whoever is started first.
    run.config = run.config.model_copy(update={"trainer": run.config.trainer.model_copy(update={"steps": 0})})
    finish(run, "label", "train")
    run.check_each_trained_once()


def test_a_trainer_ends_alone_where_the_corpus_is_a_copy_with_other_times_or_out_of_its_reach(
    stub_run: MakeStubRun,
) -> None:
    run = stub_run(shards=2, samples_per_shard=100)
    run.start("promote")
    finish(run, "label", "train")
    for shard in Path(run.config.data.shards[0]).parent.glob("*.tar"):
        os.utime(shard, (1, 1))
    finish(run, "train")
    elsewhere = run.config.data.model_copy(update={"shards": ["nosuchprotocol://bucket/*.tar"]})
    run.config = run.config.model_copy(update={"data": elsewhere})
    finish(run, "train")
    assert len(run.log("train", "only labelers can say which shards the configuration names")) == 1
    run.check_each_trained_once()


# Opens the queue of a run as `audit`, `shards` and `dead` do, and stays until standard input ends.
COMMAND = """
import sys
from xpm_stream.config import load_config
from xpm_stream.stages.operating import open_queue_of
with open_queue_of(load_config(sys.argv[1])) as queue:
    print(int(queue.server.owned), flush=True)
    sys.stdin.read()
"""


def test_roles_that_joined_the_redis_of_a_command_go_on_when_it_ends(tmp_path: Path) -> None:
    run = make_stub_run(tmp_path, redis={}, shards=3, samples_per_shard=200)
    save_resolved(run.config, run.folder)
    command = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(run.folder / "config.yaml")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert command.stdout is not None
        assert command.stdout.readline() == "1\n"
        run.start("promote")
        labeler, trainer = run.start("label"), run.start("train")
        run.until(lambda: run.trained() > 0, what="trained samples")
        assert not run.waits("label") + run.waits("train")
        command.communicate(timeout=60)
        for process in (labeler, trainer):
            process.join(SOON_S)
            assert process.exitcode == 0, run.said()
        assert run.waits("label") + run.waits("train")
        run.check_each_trained_once()
    finally:
        command.kill()
        command.communicate()
        run.end()
