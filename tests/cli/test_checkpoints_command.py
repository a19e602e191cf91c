"""`xpm-stream checkpoints`: what it shows, what a person's decisions do to the log, and what mistakes are told."""

from __future__ import annotations

import json

import numpy as np
import pytest
import safetensors.numpy
from asking import Ask, Refused

from xpm_stream.config import RunConfig
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.registry.promotion_log import PromotionLog


@pytest.fixture
def log(config: RunConfig) -> PromotionLog:
    return PromotionLog(str(config.registry.url))


def propose(config: RunConfig, log: PromotionLog, step: int, *, weight: float = 1.0) -> None:
    name = f"student-e1-s{step}"
    weights = safetensors.numpy.save({"w": np.array([weight], dtype=np.float32)})
    CheckpointStore(f"{config.registry.url}/checkpoints").write(name, {"model.safetensors": weights}, order=(1, step))
    log.propose(name, epoch=1, step=step)


@pytest.fixture
def decided(config: RunConfig, log: PromotionLog) -> PromotionLog:
    """Promoted at 10, refused at 20, promoted at 30; 40 waits."""
    for step in (10, 20, 30, 40):
        propose(config, log, step)
    log.append("promote", candidate=1, by="promoter", reasons=["whole"], checks={"gates": []})
    gate = {"gate": "reliability", "outcome": "fail", "value": 0.4, "limit": 0.6, "why": "reliability 0.400 [of all]"}
    log.append("refuse", candidate=2, by="promoter", reasons=[gate["why"]], checks={"gates": [gate]})
    log.append("promote", candidate=3, by="promoter", reasons=["better"])
    return log


def test_history_shows_every_decision_with_what_the_gates_measured(
    ask: Ask, config: RunConfig, decided: PromotionLog
) -> None:
    answer = ask("checkpoints", "history", config.folder)
    assert answer.status == 0
    lines = answer.out.splitlines()
    assert "promote" in lines[0]
    assert "student-e1-s10" in lines[0]
    refused = next(number for number, line in enumerate(lines) if "refuse" in line)
    assert "x reliability" in lines[refused + 1]
    assert "reliability 0.400 [of all]" in lines[refused + 1], "brackets are text, not markup"
    assert answer.out.count("reliability 0.400") == 1, "a gate's reason is not said twice"
    champion = [line for line in lines if "<- champion" in line]
    assert len(champion) == 1
    assert "student-e1-s30" in champion[0]
    assert lines[-1] == "candidate 4, student-e1-s40: not decided yet"


def test_history_as_json_is_the_log(ask: Ask, config: RunConfig, decided: PromotionLog) -> None:
    said = [json.loads(line) for line in ask("checkpoints", "history", config.folder, "--json").out.splitlines()]
    assert [(entry["number"], entry["action"]) for entry in said] == [(1, "promote"), (2, "refuse"), (3, "promote")]
    assert said[1]["checks"]["gates"][0]["limit"] == 0.6


def test_a_run_without_teachers_says_so(ask: Ask, config: RunConfig) -> None:
    assert ask("checkpoints", "history", config.folder).out == "no teacher has been proposed yet\n"


def test_a_person_promotes_a_waiting_candidate_or_one_that_was_refused(
    ask: Ask, config: RunConfig, decided: PromotionLog
) -> None:
    assert "student-e1-s40 is the champion" in ask("checkpoints", "promote", config.folder, "--because", "mine").out
    assert not decided.pending_candidates(), "the promoter does not judge it any more"
    ask("checkpoints", "promote", config.folder, "student-e1-s20", "--because", "looked at the masks")
    entry = decided.entries()[-1]
    assert (entry.action, entry.checkpoint, entry.step) == ("promote", "student-e1-s20", 20)
    assert entry.reasons == ["looked at the masks"]
    assert "@" in entry.by
    assert decided.champion() == entry
    assert "looked at the masks" in ask("checkpoints", "history", config.folder).out


def test_weights_that_are_not_finite_are_not_even_promoted_by_hand(
    refused: Refused, config: RunConfig, log: PromotionLog
) -> None:
    propose(config, log, 10, weight=float("inf"))
    assert "1 tensors are not finite" in refused("checkpoints", "promote", config.folder, "--because", "x")
    assert not log.entries()


def test_rollback_goes_to_the_teacher_before_or_to_the_one_named(
    ask: Ask, config: RunConfig, decided: PromotionLog
) -> None:
    said = ask("checkpoints", "rollback", config.folder, "--because", "masks got worse").out
    assert "back to student-e1-s10 of entry 1" in said
    champion = decided.champion()
    assert champion is not None
    assert (champion.action, champion.checkpoint, champion.target) == ("rollback", "student-e1-s10", 1)
    ask("checkpoints", "rollback", config.folder, "3", "--because", "no, they did not")
    champion = decided.champion()
    assert champion is not None
    assert champion.checkpoint == "student-e1-s30"


def test_a_revoked_teacher_is_marked_and_the_one_before_labels_again(
    ask: Ask, config: RunConfig, decided: PromotionLog
) -> None:
    said = ask("checkpoints", "revoke", config.folder, "3", "--because", "trained on a leak").out
    assert "student-e1-s30 is revoked; the champion is student-e1-s10 of entry 1" in said
    assert decided.revoked() == {3}
    lines = ask("checkpoints", "history", config.folder).out.splitlines()
    assert next(line for line in lines if line.startswith("  3")).endswith("revoked")


def test_the_only_teacher_cannot_be_revoked(
    refused: Refused, ask: Ask, config: RunConfig, decided: PromotionLog
) -> None:
    ask("checkpoints", "revoke", config.folder, "1", "--because", "x")
    ask("checkpoints", "rollback", config.folder, "3", "--because", "again the same teacher")
    assert "only teacher" in refused("checkpoints", "revoke", config.folder, "3", "--because", "x")
    assert [entry.action for entry in decided.entries()][-2:] == ["revoke", "rollback"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("promote", "RUN", "student-e9-s9", "--because", "x"), "no candidate student-e9-s9 was ever proposed"),
        (("promote", "RUN", "student-e1-s30", "--because", "x"), "is the champion already (entry 3)"),
        (("rollback", "RUN", "2", "--because", "x"), "promotions are: 1, 3"),
        (("rollback", "RUN", "99", "--because", "x"), "promotions are: 1, 3"),
        (("revoke", "RUN", "2", "--because", "x"), "promotions are: 1, 3"),
    ],
)
def test_mistakes_are_told_and_change_nothing(
    refused: Refused, config: RunConfig, decided: PromotionLog, arguments: tuple[str, ...], said: str
) -> None:
    asked = [config.folder if part == "RUN" else part for part in arguments]
    assert said in refused("checkpoints", *asked)
    assert len(decided.entries()) == 3


def test_there_is_no_way_back_from_the_first_teacher(refused: Refused, config: RunConfig, log: PromotionLog) -> None:
    propose(config, log, 10)
    log.append("promote", candidate=1, by="promoter")
    assert "no teacher before the champion" in refused("checkpoints", "rollback", config.folder, "--because", "x")
