"""Steps of a real trainer on a real queue, with trained images beside the new ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.stub import corpus, counting
from xpm_stream.config.loading import parse_config
from xpm_stream.label_queue import CommitBatch, Cursor, LabelQueue, ShardRecord
from xpm_stream.records import ImageInline, InstanceAnnotation, LabelMessage, SampleId, ShardId, TeacherVersion
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.stages.label_feed import LabelFeed, Starved, TrainingItem
from xpm_stream.stages.process import Role, open_queue, role_process
from xpm_stream.stages.ranks import Ranks
from xpm_stream.stages.replay import NOTHING, begin_replay
from xpm_stream.stages.student import Student
from xpm_stream.stages.training import Trainer

SHARD = ShardRecord(url="file:///s.tar", shard_id=ShardId("s"), size_bytes=1)
LABELS = 6


@pytest.fixture
def role(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Role, LabelQueue]]:
    """Two promoted teachers, and labels of the first on the queue."""
    monkeypatch.setenv(counting.SAMPLES_VARIABLE, str(LABELS))
    monkeypatch.setattr("xpm_stream.stages.staleness._LOOK_EVERY_S", 0.0)
    tree = {
        "folder": str(tmp_path / "run"),
        "method": counting.METHOD,
        "optimiser": counting.COUNTING_OPTIMISER,
        "trainer": {"replay_images": 2, "batch_captions": 2, "batch_base": 0, "device": "cpu"},
        "labeler": {"teacher_poll_s": 1e-9},
        "metrics": {"enabled": False},
    }
    config = parse_config(tree, source="test")
    with role_process("trainer", kind="trainer", config=config) as role, open_queue(role) as queue:
        for number in range(2):
            name = corpus.propose_stub_teacher(config, number=number).checkpoint
            role.promotions.append("promote", by="test", checkpoint=name, epoch=0, step=number)
        _commit(queue)
        yield role, queue


def _commit(queue: LabelQueue) -> None:
    queue.add_shards([SHARD])
    lease = queue.acquire("labeler")
    assert lease is not None
    labels = [
        LabelMessage(
            method=counting.METHOD,
            sample=SampleId(0, SHARD.shard_id, number),
            teacher=TeacherVersion(1, 0, 0),
            image=ImageInline(data=corpus._encoded(number)),
            image_size_wh=(8, 8),
            words=[f"word{number}"],
            annotation=InstanceAnnotation(instances=[]),
            labelled_at_s=1.0,
        )
        for number in range(LABELS)
    ]
    queue.commit(lease, CommitBatch(cursor=Cursor(LABELS, 512), labels=labels, finished=True))


@pytest.fixture
def trainer(role: tuple[Role, LabelQueue], tmp_path: Path) -> tuple[Trainer, LabelFeed]:
    process, queue = role
    champion = process.promotions.champion()
    assert champion is not None
    name, ranks = champion.checkpoint, Ranks()
    files = process.checkpoints.read(name)
    student = Student(process.config, files=files, name=name, ranks=ranks)
    replay = begin_replay(process, files=files, name=name, resumed=False, ranks=ranks)
    resume = CheckpointStore(tmp_path / "resume")
    made = Trainer(process, queue=queue, resume=resume, student=student, ranks=ranks, replay=replay)
    feed = LabelFeed(
        process,
        queue=queue,
        method=student.method,
        base_feed=None,
        claims=made._claims,
        epoch=made._state.epoch,
        replay=replay,
    )
    return made, feed


def _next(items: Iterator[TrainingItem | Starved]) -> TrainingItem:
    item = next(items)
    assert isinstance(item, TrainingItem)
    return item


def _train(trainer: Trainer, feed: LabelFeed, item: TrainingItem) -> None:
    fresh = trainer._without_stale(feed, item)
    trainer._take_turn(feed, fresh, [trainer._turn(fresh, checkpoint=False)])


def _counts(trainer: Trainer) -> list[int]:
    return [round(weight) for weight in trainer._student.method.network.state_dict()["trained"].tolist()]


def test_a_step_has_its_new_labels_and_trained_images_beside(trainer: tuple[Trainer, LabelFeed]) -> None:
    working, feed = trainer
    items = feed.items()
    first = _next(items)
    assert first.replayed == NOTHING, "nothing is trained yet"
    _train(working, feed, first)
    second = _next(items)
    assert [image.sample.ordinal for image in second.replayed.images] in ([0, 1], [1, 0])
    assert second.replayed.teacher == TeacherVersion(2, 0, 1), "of the newest teacher, and not of the one that labelled"
    _train(working, feed, second)
    assert _counts(working) == [2, 2, 1, 1, 0, 0]
    assert (working._state.samples_trained, working._state.samples_replayed) == (4, 2)


def test_labels_of_a_teacher_that_was_revoked_meanwhile_are_left_out_of_the_step(
    trainer: tuple[Trainer, LabelFeed], role: tuple[Role, LabelQueue]
) -> None:
    working, feed = trainer
    items = feed.items()
    _train(working, feed, _next(items))
    second = _next(items)
    assert second.replayed != NOTHING
    role[0].promotions.append("revoke", by="test", target=2)
    _train(working, feed, second)
    assert _counts(working) == [1, 1, 1, 1, 0, 0]
    assert (working._state.samples_trained, working._state.samples_replayed) == (4, 0)


def test_without_new_labels_nothing_is_replayed(
    trainer: tuple[Trainer, LabelFeed], role: tuple[Role, LabelQueue]
) -> None:
    working, feed = trainer
    items = feed.items()
    _train(working, feed, _next(items))
    second = _next(items)
    role[0].promotions.append("revoke", by="test", target=1)
    assert working._without_stale(feed, second) is None, "its new labels go back: no step is made for the others"


def test_a_suspect_is_tried_without_replay(trainer: tuple[Trainer, LabelFeed], role: tuple[Role, LabelQueue]) -> None:
    working, feed = trainer
    _train(working, feed, _next(feed.items()))
    (delivery,) = role[1].read("trainer", count=1)
    assert _next(feed._try_one(delivery, 0)).replayed == NOTHING
