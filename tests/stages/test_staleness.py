"""How far behind a label's teacher is, from a real promotion log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from xpm_stream.records import TeacherVersion
from xpm_stream.registry.promotion_log import PromotionLog
from xpm_stream.stages import staleness
from xpm_stream.stages.staleness import Staleness


@pytest.fixture
def log(tmp_path: Path) -> PromotionLog:
    return PromotionLog(str(tmp_path))


@pytest.fixture
def promote(log: PromotionLog) -> Callable[[], TeacherVersion]:
    def append() -> TeacherVersion:
        step = len(log.entries())
        return log.append("promote", checkpoint=f"c{step}", epoch=1, step=step, by="test").teacher

    return append


@pytest.fixture(autouse=True)
def _look_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staleness, "_LOOK_EVERY_S", 0.0)


def test_a_label_is_as_old_as_the_promotions_after_its_teacher(
    log: PromotionLog, promote: Callable[[], TeacherVersion]
) -> None:
    first = promote()
    measured = Staleness(log, max_lag=1)
    assert (measured.lag(first), measured.verdict(first)) == (0, None)
    promote()
    assert (measured.lag(first), measured.verdict(first)) == (1, None)
    promote()
    assert (measured.lag(first), measured.verdict(first)) == (2, "stale")


def test_without_a_limit_no_label_is_stale_but_one_can_be_revoked(
    log: PromotionLog, promote: Callable[[], TeacherVersion]
) -> None:
    first = promote()
    measured = Staleness(log, max_lag=None)
    for _ in range(3):
        promote()
    assert (measured.lag(first), measured.verdict(first)) == (3, None)
    log.append("revoke", target=first.promotion, by="test")
    assert measured.verdict(first) == "revoked"


def test_refused_candidates_make_no_label_older(log: PromotionLog, promote: Callable[[], TeacherVersion]) -> None:
    first = promote()
    log.append("refuse", checkpoint="bad", epoch=1, step=9, by="test")
    assert Staleness(log, max_lag=0).verdict(first) is None


def test_a_revoked_teachers_labels_are_revoked_however_fresh(
    log: PromotionLog, promote: Callable[[], TeacherVersion]
) -> None:
    promote()
    second = promote()
    measured = Staleness(log, max_lag=9)
    assert measured.verdict(second) is None
    log.append("revoke", target=second.promotion, by="test")
    assert measured.verdict(second) == "revoked"


def test_the_log_is_looked_at_no_more_often_than_every_so_often(
    log: PromotionLog, promote: Callable[[], TeacherVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staleness, "_LOOK_EVERY_S", 3600.0)
    first = promote()
    measured = Staleness(log, max_lag=0)
    assert measured.verdict(first) is None
    promote()
    assert measured.verdict(first) is None
