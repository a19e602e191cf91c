"""What of a run needs a person, and what is only worth knowing."""

from __future__ import annotations

import msgspec
import pytest
from sample_runs import history, window
from standings import QUEUE, entry, role, standing

from xpm_stream.monitoring.concerns import concerns_of
from xpm_stream.monitoring.drift_verdicts import QuantityLevel
from xpm_stream.monitoring.standing import Absent


def pressing(**changes: object) -> list[str]:
    return [concern.what for concern in concerns_of(standing(**changes)) if concern.needs_person]  # type: ignore[arg-type]


def known(**changes: object) -> list[str]:
    return [concern.what for concern in concerns_of(standing(**changes)) if not concern.needs_person]  # type: ignore[arg-type]


def queue(**changes: object) -> dict[str, object]:
    return {"queue": msgspec.structs.replace(QUEUE, **changes)}


def test_of_a_run_with_nothing_wrong_nothing_is_said() -> None:
    assert concerns_of(standing()) == []


def test_a_process_that_was_killed_and_is_not_back_needs_a_person() -> None:
    assert pressing(roles=[role("trainer"), role("labeler", state="killed")]) == [
        "labeler (pid 4321) was killed and is not back"
    ]


def test_what_was_killed_in_a_run_that_is_over_needs_nobody() -> None:
    assert pressing(phase="finished", roles=[role("labeler", state="killed")]) == []


def test_a_process_that_starts_may_be_unready_for_a_while_and_no_longer() -> None:
    young = role("labeler", state="not_ready", up_s=20, reasons=("no teacher is promoted yet",))
    old = role("labeler", state="not_ready", up_s=900, reasons=("no teacher is promoted yet",))
    assert known(roles=[young]) == ["labeler (pid 4321) is not ready: no teacher is promoted yet"]
    assert pressing(roles=[old]) == ["labeler (pid 4321) is not ready: no teacher is promoted yet"]


def test_whoever_waits_for_a_first_teacher_that_is_trained_needs_nobody() -> None:
    waits = role("labeler", state="not_ready", up_s=9000, reasons=("no teacher is promoted yet",))
    assert pressing(roles=[waits, role("teacher")]) == []
    assert pressing(roles=[waits, role("pretrainer")]) == []
    assert pressing(roles=[waits, role("teacher", state="silent"), role("trainer")]) != []


def test_a_run_that_stopped_before_its_end_says_how_it_goes_on() -> None:
    first = concerns_of(standing(phase="stopped", roles=[]))[0]
    assert first.needs_person
    assert first.way_out == "xpm-stream up runs/sample/config.yaml goes on where it stopped"


def test_a_queue_that_cannot_be_seen_needs_a_person() -> None:
    assert pressing(queue=Absent("Redis does not answer at redis://away")) == ["Redis does not answer at redis://away"]


@pytest.mark.parametrize(("letters", "needed"), [(10, False), (400, False), (800, True)])
def test_dead_letters_need_a_person_when_they_are_more_than_the_webs_usual_damage(letters: int, needed: bool) -> None:
    changes = queue(dead_letters=letters, dead_by_reason={"image_broken": letters})
    said = pressing(**changes) if needed else known(**changes)
    assert len(said) == 1
    assert said[0].startswith(f"{letters} dead letters, ")
    assert said[0].endswith(f"(image_broken {letters})")


def test_shards_that_failed_need_a_person() -> None:
    assert pressing(**queue(shards_failed=1)) == ["1 shard could not be read"]


def test_a_spent_budget_is_worth_knowing_only() -> None:
    assert pressing(**queue(unacked_labels=4096)) == []
    assert len(known(**queue(unacked_labels=4096))) == 1


def test_the_brake_needs_a_person_and_says_why_it_is_on() -> None:
    (said,) = pressing(windows=[*history(8), window(9, ratio=2.0, brake=True)])
    assert said.startswith("drift holds promotions back since 2026-09-")
    (concern, *_) = concerns_of(standing(windows=[window(9, ratio=2.0, brake=True)]))
    assert concern.way_out.startswith("reliability against frozen and previous_teacher; ")


def test_an_alarm_without_a_brake_needs_a_person_and_one_that_is_over_nobody() -> None:
    drifted = window(9, ratio=2.0)
    assert pressing(windows=[*history(8), drifted]) == ["the last window drifted against frozen (cause: data)"]
    assert pressing(windows=[drifted, window(10)]) == []
    better = msgspec.structs.replace(drifted, cause="teacher")
    said = [concern.what for concern in concerns_of(standing(windows=[better]))]
    assert not [what for what in said if "drift" in what and "closed" not in what], "teachers are meant to change"
    level = QuantityLevel(quantity="reliability", num_values=700, level=0.4, reference_level=0.62)
    worse = [msgspec.structs.replace(one, levels=[level]) for one in drifted.verdicts]
    assert pressing(windows=[msgspec.structs.replace(better, verdicts=worse)]) == [
        "the last window drifted against frozen (cause: teacher)"
    ]


def test_labels_that_the_monitor_missed_are_worth_knowing() -> None:
    (said,) = known(windows=[window(95, missed=500)])
    assert said.startswith("the drift monitor missed 500 of 48,000 labels")


def test_a_promoter_that_waits_for_a_person_is_said_and_fewer_failures_are_worth_knowing() -> None:
    assert "5 candidates in a row failed" in pressing(failures_in_a_row=5)[0]
    assert pressing(failures_in_a_row=4) == []
    assert known(failures_in_a_row=4) == ["not promoted, one after the other: 4 candidates (limit 5 in a row)"]
    assert pressing(failures_in_a_row=50, max_failures=None) == []


def test_a_run_whose_every_teacher_is_revoked_needs_a_person() -> None:
    assert pressing(champion=None, revoked=[1], promotions=[entry(1, "promote"), entry(2, "revoke")]) == [
        "no teacher is in force: every promotion was refused or revoked"
    ]


def test_what_needs_a_person_comes_first() -> None:
    said = concerns_of(standing(failures_in_a_row=1, roles=[role("labeler", state="killed")]))
    assert [concern.needs_person for concern in said] == [True, False]
