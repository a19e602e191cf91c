"""A labeler follows the promotion log: which teacher it has loaded, and when it changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_methods import BASE_CLASSES, MakeConfig, MakeMethod

from xpm_stream.errors import CheckpointError
from xpm_stream.methods.base import Method
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.registry.promotion_log import PromotionLog
from xpm_stream.stages.network_files import network_files
from xpm_stream.stages.teachers import TeacherFollower, first_base_classes


@pytest.fixture
def checkpoints(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints")


@pytest.fixture
def log(tmp_path: Path) -> PromotionLog:
    return PromotionLog(str(tmp_path))


Promote = Callable[[int], Method]


@pytest.fixture
def promote(
    checkpoints: CheckpointStore, log: PromotionLog, make_method: MakeMethod, make_config: MakeConfig
) -> Promote:
    def one(step: int) -> Method:
        method = make_method(seed=step)
        checkpoints.write(f"c{step}", network_files(method, config=make_config(), base_classes=BASE_CLASSES))
        log.append("promote", checkpoint=f"c{step}", epoch=1, step=step, by="test")
        return method

    return one


@pytest.fixture
def labeling(make_method: MakeMethod) -> Method:
    return make_method(seed=99)


@pytest.fixture
def follow(
    labeling: Method, checkpoints: CheckpointStore, log: PromotionLog, make_config: MakeConfig
) -> Callable[..., TeacherFollower]:
    def make(refresh: str = "on_promotion", poll_s: float = 1e-9) -> TeacherFollower:
        config = make_config()
        config = config.model_copy(update={"labeler": config.labeler.model_copy(update={"teacher_poll_s": poll_s})})
        teacher = config.teacher.model_copy(update={"refresh": refresh})
        config = config.model_copy(update={"teacher": teacher})
        return TeacherFollower(labeling, config=config, checkpoints=checkpoints, promotions=log)

    return make


def _same(one: Method, other: Method) -> bool:
    ours, theirs = one.network.state_dict(), other.network.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_without_a_promotion_there_is_no_teacher(
    follow: Callable[..., TeacherFollower], checkpoints: CheckpointStore, log: PromotionLog
) -> None:
    follower = follow()
    assert not follower.poll()
    assert follower.version is None
    assert first_base_classes(checkpoints, log) is None


def test_the_newest_promotion_is_loaded_and_the_same_one_only_once(
    follow: Callable[..., TeacherFollower],
    promote: Promote,
    labeling: Method,
    checkpoints: CheckpointStore,
    log: PromotionLog,
) -> None:
    promote(1)
    second = promote(2)
    follower = follow()
    assert follower.poll()
    assert _same(labeling, second)
    assert str(follower.version) == "v2"
    assert follower.promoted_at_s == log.entries()[-1].created_at_s
    assert not follower.poll()
    third = promote(3)
    assert follower.poll()
    assert _same(labeling, third)
    assert first_base_classes(checkpoints, log) == BASE_CLASSES


def test_a_revoked_teacher_gives_way_to_the_one_before(
    follow: Callable[..., TeacherFollower], promote: Promote, labeling: Method, log: PromotionLog
) -> None:
    first = promote(1)
    promote(2)
    follower = follow()
    follower.poll()
    log.append("revoke", target=2, by="test")
    assert follower.poll()
    assert _same(labeling, first)
    assert str(follower.version) == "v1"


def test_between_two_looks_a_revoked_teacher_stays_unless_asked_to_look_at_once(
    follow: Callable[..., TeacherFollower], promote: Promote, log: PromotionLog
) -> None:
    promote(1)
    promote(2)
    follower = follow(poll_s=3600.0)
    assert follower.poll()
    log.append("revoke", target=2, by="test")
    assert not follower.poll()
    assert follower.poll(at_once=True)
    assert follower.version is not None
    assert follower.version.step == 1


def test_never_refreshing_keeps_the_first_teacher(
    follow: Callable[..., TeacherFollower], promote: Promote, labeling: Method
) -> None:
    first = promote(1)
    follower = follow("never")
    assert follower.poll()
    promote(2)
    assert not follower.poll()
    assert _same(labeling, first)


def test_a_promoted_checkpoint_that_is_gone_is_an_error(
    follow: Callable[..., TeacherFollower], promote: Promote, checkpoints: CheckpointStore
) -> None:
    promote(1)
    checkpoints.delete("c1")
    with pytest.raises(CheckpointError, match="there is no checkpoint 'c1'"):
        follow().poll()
