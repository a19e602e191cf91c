"""What puts the brake on, what does not, and when it is released."""

from __future__ import annotations

from typing import Literal

import pytest

from xpm_stream.monitoring.drift_attribution import Attribution, QuantityCause
from xpm_stream.monitoring.drift_brake import Brake, Judged
from xpm_stream.monitoring.drift_records import Cause
from xpm_stream.monitoring.drift_verdicts import DriftVerdict, StatisticVerdict

Missing = Literal["missing"]


def judged(*causes: Cause | Missing, too_few: bool = False, reference: str = "frozen") -> Judged:
    """A window with a quantity for each cause, or one that is missing."""
    statistics = [
        StatisticVerdict(
            quantity=f"q{number}",
            statistic="psi",
            value=None if cause == "missing" else 0.5 + number,
            threshold=None if too_few else 0.25,
            above=cause != "missing" and not too_few,
        )
        for number, cause in enumerate(causes)
    ]
    verdict = DriftVerdict(
        status="too_few" if too_few else ("drift" if any(one.above for one in statistics) else "no_drift"),
        reference=reference,
        reference_teacher="v1",
        teacher="v2",
        teachers={"v2": 100},
        num_labels=100,
        started_at_s=0.0,
        ended_at_s=1.0,
        false_alarm_windows=200.0,
        statistics=statistics,
        levels=[],
        changed_words=[],
    )
    quantities = [
        QuantityCause(quantity=f"q{number}", cause="teacher" if cause == "missing" else cause)
        for number, cause in enumerate(causes)
    ]
    return Judged(verdict=verdict, attribution=Attribution(cause="teacher", quantities=quantities) if causes else None)


QUIET = judged()
UNJUDGED = judged("data", too_few=True)


@pytest.mark.parametrize("cause", ["data", "both", "unknown"])
@pytest.mark.parametrize("reference", ["frozen", "previous_teacher"])
def test_changes_that_are_not_the_teachers_alone_brake(cause: Cause, reference: str) -> None:
    brake = Brake(release_windows=2)
    brake.take([QUIET, judged("teacher", cause, reference=reference)], now_s=5.0)
    assert (brake.on, brake.since_s) == (True, 5.0)
    assert brake.reasons == [f"{reference}: q1 psi 1.5 is above 0.25 ({cause})"]


def test_what_a_new_teacher_changes_does_not_brake() -> None:
    brake = Brake(release_windows=2)
    for number in range(5):
        brake.take([judged("teacher", "teacher"), judged("teacher", reference="previous_teacher")], now_s=number)
    assert not brake.on


def test_a_quantity_that_is_gone_brakes_whoever_made_it_vanish() -> None:
    brake = Brake(release_windows=2)
    brake.take([judged("missing")], now_s=1.0)
    assert brake.on
    assert brake.reasons == ["frozen: q0 is missing: too few values in the window"]


def test_it_is_released_after_so_many_windows_in_a_row_without_a_call_for_it() -> None:
    brake = Brake(release_windows=3)
    brake.take([judged("data")], now_s=1.0)
    for _ in range(2):
        brake.take([QUIET], now_s=2.0)
    brake.take([judged("data")], now_s=3.0)
    assert (brake.on, brake.since_s) == (True, 1.0), "since it was put on, not since the last alarm"
    for window in (QUIET, UNJUDGED, QUIET, judged("teacher")):
        assert brake.on
        brake.take([window], now_s=4.0)
    assert (brake.on, brake.since_s, brake.reasons) == (False, None, [])


@pytest.mark.parametrize("window", [[], [UNJUDGED]], ids=["no reference is ready", "too few labels"])
def test_a_window_that_nothing_judged_neither_brakes_nor_releases(window: list[Judged]) -> None:
    brake = Brake(release_windows=1)
    brake.take(window, now_s=1.0)
    assert not brake.on
    brake.take([judged("data")], now_s=2.0)
    brake.take(window, now_s=3.0)
    assert brake.on
