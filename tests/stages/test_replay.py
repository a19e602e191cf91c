"""Replayed images: fetched anew, labelled by the newest teacher that may, and given up when their image is lost."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from rank_processes import hand_over_reservoirs, run_ranks
from structlog.testing import capture_logs

from benchmarks.stub import corpus, counting
from xpm_stream.config.loading import parse_config
from xpm_stream.errors import CheckpointError, ConfigError, RegistryError
from xpm_stream.learning.reservoir_state import ReservoirLimits
from xpm_stream.methods.base import CaptionImage
from xpm_stream.records import (
    Annotation,
    ImageInline,
    ImageReference,
    InstanceAnnotation,
    LabelMessage,
    SampleId,
    ShardId,
    TeacherVersion,
)
from xpm_stream.stages.network_files import CLASSES
from xpm_stream.stages.process import Role, role_process
from xpm_stream.stages.ranks import Ranks
from xpm_stream.stages.replay import NOTHING, Replay, Replayed, begin_replay
from xpm_stream.stages.replay_file import REPLAY, restore_reservoir

IMAGES = [corpus._encoded(number) for number in range(6)]
FILES = {CLASSES: msgspec.json.encode({"base": list(counting.BASE_CLASSES)})}


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """The encoded images, one after the other."""
    path = tmp_path / "images.bin"
    path.write_bytes(b"".join(IMAGES))
    return path


@pytest.fixture
def role(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Role]:
    monkeypatch.setenv(counting.SAMPLES_VARIABLE, "6")
    tree = {
        "folder": str(tmp_path / "run"),
        "method": counting.METHOD,
        "trainer": {"replay_images": 6, "device": "cpu"},
        "labeler": {"teacher_poll_s": 1e-9, "batch_images": 4},
        "metrics": {"enabled": False},
    }
    config = parse_config(tree, source="test")
    with role_process("trainer", kind="trainer", config=config) as made:
        yield made


@pytest.fixture
def promote(role: Role) -> Callable[[], int]:
    def one() -> int:
        number = len(role.promotions.entries())
        name = corpus.propose_stub_teacher(role.config, number=number).checkpoint
        return role.promotions.append("promote", by="test", checkpoint=name, epoch=0, step=number).number

    return one


@pytest.fixture
def replay(role: Role, promote: Callable[[], int], shard: Path) -> Replay:
    """With all six images trained."""
    promote()
    made = _begin(role)
    made.add(_message(number, shard) for number in range(6))
    return made


def _begin(role: Role, files: dict[str, bytes] | None = None, *, resumed: bool = False) -> Replay:
    made = begin_replay(role, files=FILES | (files or {}), name="c", resumed=resumed, ranks=Ranks())
    assert made is not None
    return made


def _message(number: int, shard: Path) -> LabelMessage:
    data = IMAGES[number]
    begin = sum(map(len, IMAGES[:number]))
    return LabelMessage(
        method=counting.METHOD,
        sample=SampleId(0, ShardId("s"), number),
        teacher=TeacherVersion(1, 0, 0),
        image=ImageReference(f"file://{shard}", begin, len(data), zlib.crc32(data)),
        image_size_wh=(8, 8),
        words=["dog", f"word{number}"],
        annotation=InstanceAnnotation(instances=[]),
        labelled_at_s=1.0,
    )


def _take(replay: Replay, *, seed: int = 0) -> Replayed:
    with ThreadPoolExecutor(2) as pool:
        return replay.take(rng=np.random.default_rng(seed), pool=pool)


def _teacher(replay: Replay) -> int:
    teacher = _take(replay).teacher
    assert teacher is not None
    return teacher.promotion


def _numbers(replayed: Replayed) -> list[int]:
    return sorted(counting.number_of(image.pixels) for image in replayed.images)


def _metric(role: Role, name: str, **labels: str) -> float:
    return role.metrics.registry.get_sample_value(name, labels) or 0.0


def test_trained_images_come_back_with_new_labels_of_the_newest_teacher(
    role: Role, replay: Replay, promote: Callable[[], int]
) -> None:
    first = _take(replay)
    assert _numbers(first) == list(range(6))
    assert first.teacher == TeacherVersion(1, 0, 0)
    for image in first.images:
        assert image.words == ["dog", f"word{image.sample.ordinal}"]
        assert [finding.word for finding in image.annotation.findings((8, 8))] == image.words, "the old label had none"
    assert promote() == _teacher(replay) == 2
    assert (_metric(role, "xpm_trainer_replay_samples"), _metric(role, "xpm_trainer_replay_words")) == (6, 7)


def test_no_more_are_labelled_together_than_a_labeler_labels(
    role: Role, replay: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    label, batches = counting.Counting.label, []

    def watched(self: counting.Counting, images: list[CaptionImage]) -> list[Annotation]:
        batches.append(len(images))
        return label(self, images)

    monkeypatch.setattr(counting.Counting, "label", watched)
    assert len(_take(replay).images) == 6
    assert batches == [4, 2]


def test_a_revoked_teacher_labels_nothing_and_without_another_there_is_an_error(
    role: Role, replay: Replay, promote: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xpm_stream.stages.staleness._LOOK_EVERY_S", 0.0)
    second = promote()
    assert _teacher(replay) == second
    role.promotions.append("revoke", by="test", target=second)
    assert _teacher(replay) not in role.promotions.revoked()
    role.promotions.append("revoke", by="test", target=1)
    with pytest.raises(RegistryError, match=r"no promoted teacher is left .* trainer\.replay_images: 0"):
        _take(replay)


def test_without_a_promoted_teacher_replay_does_not_begin(role: Role) -> None:
    with pytest.raises(RegistryError, match="no promoted teacher"):
        _begin(role)


def test_an_image_that_is_gone_or_was_rewritten_leaves_and_is_counted(role: Role, replay: Replay, shard: Path) -> None:
    content = bytearray(shard.read_bytes())
    content[len(IMAGES[0]) - 20] ^= 255
    shard.write_bytes(content[: -len(IMAGES[5])])
    assert _numbers(_take(replay)) == [1, 2, 3, 4]
    for reason in ("image_changed", "image_gone"):
        assert _metric(role, "xpm_trainer_replay_losses_total", reason=reason) == 1
    assert _metric(role, "xpm_trainer_replay_samples") == 4
    shard.unlink()
    assert _take(replay) == NOTHING
    assert _metric(role, "xpm_trainer_replay_losses_total", reason="image_gone") == 5
    assert _metric(role, "xpm_trainer_replay_words") == 0


def test_a_store_that_does_not_answer_costs_a_draw_and_no_sample(role: Role, replay: Replay, shard: Path) -> None:
    content = shard.read_bytes()
    shard.unlink()
    shard.mkdir()
    assert _take(replay) == NOTHING
    assert _metric(role, "xpm_trainer_replay_skips_total", reason="image_unavailable") == 6
    assert _metric(role, "xpm_trainer_replay_samples") == 6
    shard.rmdir()
    shard.write_bytes(content)
    assert _numbers(_take(replay)) == list(range(6))


def test_a_label_that_could_not_travel_is_not_learnt(
    role: Role, replay: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    label = counting.Counting.label

    def one_bad(self: counting.Counting, images: list[CaptionImage]) -> list[Annotation]:
        made = label(self, images)
        if len(images) < 4:
            return made  # one of the first batch is enough
        bad = made[0]
        assert isinstance(bad, InstanceAnnotation)
        score = msgspec.structs.replace(bad.instances[0], score=float("nan"))
        return [InstanceAnnotation(instances=[score]), *made[1:]]

    monkeypatch.setattr(counting.Counting, "label", one_bad)
    assert len(_take(replay).images) == 5
    assert _metric(role, "xpm_trainer_replay_skips_total", reason="label_invalid") == 1


def test_partner_images_are_fetched_with_the_image(role: Role, replay: Replay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(InstanceAnnotation, "partner_images", lambda self: [ImageInline(data=IMAGES[3])])
    for image in _take(replay).images:
        assert [counting.number_of(pixels) for pixels in image.partners] == [3]
    monkeypatch.setattr(InstanceAnnotation, "partner_images", lambda self: [ImageInline(data=b"nothing")])
    assert _take(replay) == NOTHING
    assert _metric(role, "xpm_trainer_replay_losses_total", reason="image_broken") == 6


def test_a_resume_goes_on_with_the_checkpoint_s_reservoir(role: Role, replay: Replay) -> None:
    files = replay.files()
    resumed = _begin(role, files, resumed=True)
    assert resumed.files() == files
    assert [image.sample for image in _take(resumed).images] == [image.sample for image in _take(replay).images]


def test_an_older_checkpoint_starts_an_empty_one_and_says_so(role: Role, promote: Callable[[], int]) -> None:
    promote()
    for resumed in (False, True):
        with capture_logs() as events:
            made = _begin(role, resumed=resumed)
        assert any("starts empty" in str(event) for event in events) == resumed
        assert _take(made) == NOTHING


def test_a_damaged_reservoir_is_named(role: Role) -> None:
    limits = ReservoirLimits(per_word=1, capacity=1, inline_bytes=0)
    for content in (b"nonsense", msgspec.msgpack.encode([])):
        with pytest.raises(CheckpointError, match=r"checkpoint c: replay\.msgpack cannot be used"):
            restore_reservoir({REPLAY: content}, name="c", limits=limits, seed=[0], ranks=Ranks())


@pytest.mark.parametrize("now", [1, 2, 3])
def test_a_checkpoint_of_two_ranks_is_dealt_out_to_any_number(tmp_path: Path, now: int) -> None:
    path = tmp_path / "replay"
    before = run_ranks(2, hand_over_reservoirs, str(path), 10)
    assert before == [list(range(0, 20, 2)), list(range(1, 20, 2))]
    after = run_ranks(now, hand_over_reservoirs, str(path), 0)
    assert sorted(number for of_rank in after for number in of_rank) == list(range(20))
    assert max(map(len, after)) - min(map(len, after)) <= 1
    if now == 2:
        assert after == before


def test_more_images_a_step_than_are_kept_is_refused() -> None:
    tree: dict[str, Any] = {"trainer": {"replay_images": 9, "replay_capacity": 8}}
    with pytest.raises(ConfigError, match=r"trainer\.replay_images \(9\) is above trainer\.replay_capacity \(8\)"):
        parse_config(tree, source="test")
