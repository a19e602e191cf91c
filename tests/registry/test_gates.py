"""What the gates say of measures, and what comes of it."""

from __future__ import annotations

import msgspec
import pytest

from xpm_stream.config.monitor_sections import GatesConfig
from xpm_stream.registry.gates import (
    GateMeasures,
    GateResult,
    Outcome,
    Progress,
    check_progress,
    compare,
    verdict_of,
)

CONFIG = GatesConfig(
    max_base_ap50_drop=5.0,
    min_canary_agreement=0.3,
    min_label_ratio=0.5,
    max_label_ratio=2.0,
    min_entropy_ratio=0.5,
    max_reliability_drop=0.1,
)
CHAMPION = GateMeasures(
    checkpoint="champion",
    set_id="s",
    base_ap50=50.0,
    num_held_out=100,
    num_canary=100,
    labels_per_image=2.0,
    word_entropy=3.0,
    mean_reliability=0.7,
)


def outcomes(agreement: float | None = 0.8, **changed: float | None) -> dict[str, Outcome]:
    candidate = msgspec.structs.replace(CHAMPION, checkpoint="candidate", **changed)
    return {one.gate: one.outcome for one in compare(candidate, CHAMPION, agreement=agreement, config=CONFIG)}


def test_a_candidate_as_good_as_the_champion_passes_every_gate() -> None:
    assert outcomes() == {
        "base_ap50": "pass",
        "canary_agreement": "pass",
        "label_count": "pass",
        "word_entropy": "pass",
        "reliability": "pass",
    }


@pytest.mark.parametrize(
    ("gate", "just", "too_much"),
    [
        ("base_ap50", {"base_ap50": 45.0}, {"base_ap50": 44.9}),
        ("canary_agreement", {"agreement": 0.3}, {"agreement": 0.29}),
        ("label_count", {"labels_per_image": 1.0}, {"labels_per_image": 0.99}),
        ("label_count", {"labels_per_image": 4.0}, {"labels_per_image": 4.01}),
        ("word_entropy", {"word_entropy": 1.5}, {"word_entropy": 1.49}),
        ("reliability", {"mean_reliability": 0.601}, {"mean_reliability": 0.59}),
    ],
)
def test_each_gate_lets_through_what_its_limit_allows_and_no_more(
    gate: str, just: dict[str, float], too_much: dict[str, float]
) -> None:
    assert set(outcomes(**just).values()) == {"pass"}
    failed = outcomes(**too_much)
    assert failed.pop(gate) == "fail"
    assert set(failed.values()) == {"pass"}, "the others are not concerned"


def test_what_the_champion_cannot_be_measured_by_is_no_gate() -> None:
    bare = GateMeasures(checkpoint="champion", set_id="s")
    assert compare(CHAMPION, bare, agreement=None, config=CONFIG) == []


def test_a_teacher_that_no_longer_gives_reliability_is_refused() -> None:
    assert outcomes(mean_reliability=None)["reliability"] == "fail"


def test_a_champion_without_labels_is_followed_by_anything() -> None:
    silent = msgspec.structs.replace(CHAMPION, labels_per_image=0.0)
    (gate,) = [one for one in compare(CHAMPION, silent, agreement=None, config=CONFIG) if one.gate == "label_count"]
    assert gate.outcome == "pass"


def test_measures_of_different_images_are_never_compared() -> None:
    other = msgspec.structs.replace(CHAMPION, set_id="t")
    with pytest.raises(ValueError, match="different sets: t and s"):
        compare(other, CHAMPION, agreement=0.5, config=CONFIG)


def test_reasons_name_both_figures_and_the_limit() -> None:
    worse = msgspec.structs.replace(CHAMPION, base_ap50=40.0)
    action, reasons = verdict_of(compare(worse, CHAMPION, agreement=0.8, config=CONFIG))
    assert action == "refuse"
    assert reasons == ["mask AP50 of base classes 40.0, the champion's 50.0; at least 45.0 is asked for"]


def _result(outcome: Outcome) -> GateResult:
    return GateResult(gate="files", outcome=outcome, why=outcome)


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        (["pass", "pass"], ("promote", ["pass", "pass"])),
        (["pass", "unknown"], ("inconclusive", ["unknown"])),
        (["unknown", "fail", "pass"], ("refuse", ["fail"])),
        ([], ("promote", [])),
    ],
)
def test_one_failure_refuses_and_one_unknown_leaves_it_open(
    outcomes: list[Outcome], verdict: tuple[str, list[str]]
) -> None:
    assert verdict_of([_result(outcome) for outcome in outcomes]) == verdict


def test_progress_is_asked_for_only_where_it_is_configured() -> None:
    assert check_progress(Progress(steps=1, samples=1), CONFIG) == []
    asked = CONFIG.model_copy(update={"min_steps": 10, "min_samples": 100})
    assert check_progress(Progress(), asked) == [], "a first teacher has no steps of a student"
    found = check_progress(Progress(steps=10, samples=99), asked)
    assert [(one.gate, one.outcome) for one in found] == [("steps", "pass"), ("samples", "unknown")]
