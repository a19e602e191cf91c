"""The promoter's decisions on candidates of a real registry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from xpm_stream.config.loading import parse_config
from xpm_stream.stages.process import Role, role_process
from xpm_stream.stages.promotion import Promoter


@pytest.fixture
def role(tmp_path: Path) -> Iterator[Role]:
    config = parse_config({"folder": str(tmp_path), "metrics": {"enabled": False}}, source="test")
    with role_process("promoter", kind="promoter", config=config) as made:
        yield made


def _propose(role: Role, *, epoch: int, step: int, weight: float = 1.0) -> None:
    name = f"student-e{epoch}-s{step}"
    weights = safetensors.numpy.save({"w": np.array([weight], dtype=np.float32)})
    role.checkpoints.write(name, {"model.safetensors": weights}, order=(epoch, step))
    role.promotions.propose(name, epoch=epoch, step=step)


def _decisions(role: Role) -> list[tuple[str, int]]:
    return [(entry.action, entry.step) for entry in role.promotions.entries()]


def test_whole_and_finite_candidates_are_promoted_in_order(role: Role) -> None:
    _propose(role, epoch=0, step=0)
    _propose(role, epoch=1, step=5)
    assert Promoter(role).judge_pending() == 2
    assert _decisions(role) == [("promote", 0), ("promote", 5)]


def test_weights_that_are_not_finite_are_refused(role: Role) -> None:
    _propose(role, epoch=1, step=5, weight=float("nan"))
    Promoter(role).judge_pending()
    assert _decisions(role) == [("refuse", 5)]


def test_a_trainer_that_woke_up_after_it_was_replaced_gets_nothing_promoted(role: Role) -> None:
    _propose(role, epoch=2, step=7)
    _propose(role, epoch=1, step=9)  # frozen in the middle of its proposal
    _propose(role, epoch=2, step=12)
    Promoter(role).judge_pending()
    assert _decisions(role) == [("promote", 7), ("refuse", 9), ("promote", 12)]
    assert "replaced" in role.promotions.entries()[1].reasons[0]


def test_a_teacher_that_no_trainer_made_may_come_at_any_time(role: Role) -> None:
    _propose(role, epoch=2, step=7)
    _propose(role, epoch=0, step=0)
    Promoter(role).judge_pending()
    assert _decisions(role) == [("promote", 7), ("promote", 0)]
