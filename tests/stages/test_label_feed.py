"""Labels from a real queue to training batches: what cannot be had is tried again, then given up, and nothing waits."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_methods import MakeConfig, MakeMethod

from xpm_stream.config import RunConfig
from xpm_stream.label_queue import CommitBatch, Cursor, LabelQueue, ShardRecord, TrainedLedger
from xpm_stream.records import (
    ImageInline,
    ImagePayload,
    ImageReference,
    InstanceAnnotation,
    LabelMessage,
    SampleId,
    ShardId,
    TeacherVersion,
)
from xpm_stream.stages.label_feed import Admitted, LabelFeed, Starved, TrainingItem
from xpm_stream.stages.process import Role, open_queue, role_process
from xpm_stream.stages.sample_claims import SampleClaims

SHARD = ShardRecord(url="file:///s.tar", shard_id=ShardId("s"), size_bytes=1)


@pytest.fixture
def config(make_config: MakeConfig, tmp_path: Path) -> RunConfig:
    made = make_config()
    sections = {
        "trainer": made.trainer.model_copy(update={"batch_captions": 4}),
        "metrics": made.metrics.model_copy(update={"enabled": False}),
        "queue": made.queue.model_copy(update={"max_attempts": 2, "store_patience_s": 1e-9}),
    }
    return made.model_copy(update={"folder": str(tmp_path), **sections})


@pytest.fixture
def role(config: RunConfig) -> Iterator[tuple[Role, LabelQueue]]:
    with ExitStack() as stack:
        role = stack.enter_context(role_process("trainer", kind="trainer", config=config))
        queue = stack.enter_context(open_queue(role))
        queue.raise_epoch()
        yield role, queue


def _jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((40, 60, 3), 90, dtype=np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def _commit(queue: LabelQueue, images: list[ImagePayload], *, finished: bool) -> None:
    queue.add_shards([SHARD])
    lease = queue.acquire("labeler")
    assert lease is not None
    labels = [
        LabelMessage(
            method="xpm",
            sample=SampleId(0, SHARD.shard_id, ordinal),
            teacher=TeacherVersion(1, 0, 0),
            image=image,
            image_size_wh=(60, 40),
            words=["dog"],
            annotation=InstanceAnnotation(instances=[]),
            labelled_at_s=1.0,
        )
        for ordinal, image in enumerate(images)
    ]
    queue.commit(lease, CommitBatch(cursor=Cursor(len(images), 512), labels=labels, finished=finished))


def _feed(role: Role, queue: LabelQueue, method: MakeMethod) -> LabelFeed:
    claims = SampleClaims(TrainedLedger())
    return LabelFeed(role, queue=queue, method=method(), base_feed=None, claims=claims, epoch=1)


def _batches(feed: LabelFeed) -> Iterator[list[int]]:
    """The ordinals of each item; ends when the feed starves."""
    for item in feed.items():
        if isinstance(item, Starved):
            return
        assert isinstance(item, TrainingItem)
        yield [admitted.message.sample.ordinal for admitted in item.admitted]


def test_batches_are_full_and_the_last_of_a_finished_corpus_is_what_is_left(
    role: tuple[Role, LabelQueue], make_method: MakeMethod
) -> None:
    _commit(role[1], [ImageInline(data=_jpeg())] * 10, finished=True)
    assert list(_batches(_feed(*role, make_method))) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_while_more_may_come_a_few_labels_wait(role: tuple[Role, LabelQueue], make_method: MakeMethod) -> None:
    _commit(role[1], [ImageInline(data=_jpeg())] * 6, finished=False)
    assert list(_batches(_feed(*role, make_method))) == [[0, 1, 2, 3]]


def test_more_deliveries_than_asked_for_make_more_batches(
    role: tuple[Role, LabelQueue], make_method: MakeMethod
) -> None:
    _, queue = role
    _commit(queue, [ImageInline(data=_jpeg())] * 12, finished=True)
    queue.read("trainer", count=7)
    queue._outstanding.clear()  # as if the connection had been cut before the answer came
    assert list(_batches(_feed(*role, make_method))) == [[7, 8, 9, 10], [0, 1, 2, 3], [4, 5, 6, 11]]


def test_an_image_that_cannot_be_decoded_is_a_dead_letter_at_once(
    role: tuple[Role, LabelQueue], make_method: MakeMethod
) -> None:
    _, queue = role
    _commit(queue, [ImageInline(data=b"no image"), *[ImageInline(data=_jpeg())] * 4], finished=True)
    assert list(_batches(_feed(*role, make_method))) == [[1, 2, 3, 4]]
    assert [(letter.reason, letter.sample.ordinal) for letter in queue.dead_letters() if letter.sample] == [
        ("image_broken", 0)
    ]


def test_an_image_whose_store_does_not_answer_is_tried_again_and_then_given_up(
    role: tuple[Role, LabelQueue], make_method: MakeMethod, tmp_path: Path
) -> None:
    _, queue = role
    gone = ImageReference(f"file://{tmp_path}/gone.tar", 0, 100)
    _commit(queue, [gone, *[ImageInline(data=_jpeg())] * 3], finished=True)
    assert list(_batches(_feed(*role, make_method))) == [[1, 2, 3]]
    (letter,) = queue.dead_letters()
    assert (letter.reason, letter.attempts) == ("image_unavailable", 2)
    assert "gone.tar" in letter.detail


def test_a_store_that_comes_back_in_time_loses_nothing(
    role: tuple[Role, LabelQueue], make_method: MakeMethod, tmp_path: Path
) -> None:
    process, queue = role
    patient = process.config.queue.model_copy(update={"store_patience_s": 2.0})
    process.config = process.config.model_copy(update={"queue": patient})
    shard, image = tmp_path / "away.tar", _jpeg()
    away = ImageReference(f"file://{shard}", 0, len(image))
    _commit(queue, [away, *[ImageInline(data=image)] * 3], finished=True)
    for item in _feed(*role, make_method).items():
        if isinstance(item, TrainingItem):
            break
        shard.write_bytes(image)  # while the others wait for it
    assert [admitted.message.sample.ordinal for admitted in item.admitted] == [1, 2, 3, 0]
    assert not list(queue.dead_letters())


def _admitted(item: TrainingItem | Starved) -> list[Admitted]:
    assert isinstance(item, TrainingItem)
    return item.admitted


def _commit_second_labels(queue: LabelQueue, count: int) -> None:
    """As a Redis does that was restored from an older copy: the labels of the first samples come once more."""
    with queue.edge.client as client:
        entries = client.xrange(queue.keys.labels, count=count)
        for _, fields in entries:
            client.xadd(queue.keys.labels, fields)


def test_a_second_label_waits_for_the_first_and_is_trained_when_that_was_let_go(
    role: tuple[Role, LabelQueue], make_method: MakeMethod
) -> None:
    _, queue = role
    _commit(queue, [ImageInline(data=_jpeg())] * 4, finished=True)
    _commit_second_labels(queue, 2)
    feed = _feed(*role, make_method)
    items = feed.items()
    first = _admitted(next(items))
    assert [admitted.message.sample.ordinal for admitted in first] == [0, 1, 2, 3]
    assert isinstance(next(items), Starved)  # the second labels of 0 and 1 have been read
    assert feed.take_duplicates() == []  # 0 and 1 are in training: nobody knows yet whether they will be trained

    feed._claims.book_trained([first[0].message.sample])
    feed._claims.release(admitted.message.sample for admitted in first[1:])  # stale, say
    assert [delivery.sample for delivery in feed.take_duplicates()] == [first[0].message.sample]
    again = _admitted(next(items))
    assert [admitted.message.sample.ordinal for admitted in again] == [1]
    assert again[0].delivery.entry_id != first[1].delivery.entry_id


def test_a_few_labels_that_are_all_the_budget_allows_are_trained(
    make_config: MakeConfig, make_method: MakeMethod, role: tuple[Role, LabelQueue], config: RunConfig
) -> None:
    role_, queue = role
    tight = config.model_copy(update={"queue": config.queue.model_copy(update={"max_unacked_labels": 3})})
    _commit(queue, [ImageInline(data=_jpeg())] * 3, finished=False)
    feed = LabelFeed(
        replace(role_, config=tight),
        queue=queue,
        method=make_method(),
        base_feed=None,
        claims=SampleClaims(TrainedLedger()),
        epoch=1,
    )
    assert list(_batches(feed)) == [[0, 1, 2]]
