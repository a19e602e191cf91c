"""A candidate's card says whose labels it learned, and from what."""

from __future__ import annotations

import json
from pathlib import Path

from xpm_stream.config import RunConfig
from xpm_stream.label_queue import TrainedLedger
from xpm_stream.records import SampleId, ShardId
from xpm_stream.registry.promotion_log import PromotionLog
from xpm_stream.stages.model_cards import student_card, teacher_card
from xpm_stream.stages.training_state import TeacherTally, TrainingState


def test_a_students_card_names_its_teachers_nearest_first_and_its_ledger(tmp_path: Path) -> None:
    promotions = PromotionLog(tmp_path)
    for name in ("teacher-e0-s5", "student-e1-s9"):
        promotions.append("promote", by="test", checkpoint=name, reasons=["mask AP50 48.0", "no drift"])
    ledger = TrainedLedger()
    for ordinal in range(3):
        ledger.add(SampleId(0, ShardId("a"), ordinal))
    state = TrainingState(step=12, epoch=2, samples_trained=3)
    state.by_teacher = {"1": TeacherTally(samples=2), "2": TeacherTally(samples=1)}

    files = student_card(
        "student-e2-s12", config=RunConfig(name="demo"), base_classes=20, state=state, ledger=ledger,
        promotions=promotions, caption_words=24,
    )  # fmt: skip

    text = files["README.md"].decode()
    nearest = text.index("1. `student-e1-s9`, promotion 2, 1 labels")
    assert nearest < text.index("2. `teacher-e0-s5`, promotion 1, 2 labels")
    assert ledger.digest() in text
    assert "| caption shards | 1 |" in text
    assert "| samples trained | 3 |" in text
    assert "| captions | 24 |" in text
    assert "its nearest teacher `student-e1-s9`, entry 2: mask AP50 48.0" in text


def test_a_students_metrics_keep_what_the_gates_said_of_its_teachers(tmp_path: Path) -> None:
    promotions = PromotionLog(tmp_path)
    gates = [{"gate": "base_ap50", "outcome": "pass", "value": 48.0, "limit": 40.0, "why": "mask AP50 48.0"}]
    promotions.append("promote", by="test", checkpoint="teacher-e0-s5", reasons=["good"], checks={"gates": gates})
    state = TrainingState(step=12, epoch=2, samples_trained=4, samples_replayed=1)
    state.by_teacher = {
        "1": TeacherTally(samples=3, instances=5, instances_with_reliability=4, reliability_sum=3.0),
        "7": TeacherTally(samples=1),  # an entry that the log does not have (any more)
    }

    files = student_card(
        "student-e2-s12", config=RunConfig(), base_classes=20, state=state, ledger=TrainedLedger(),
        promotions=promotions, caption_words=2,
    )  # fmt: skip

    metrics = json.loads(files["metrics.json"])
    assert (metrics["checkpoint"], metrics["epoch"], metrics["step"]) == ("student-e2-s12", 2, 12)
    assert metrics["samples"] == {"trained": 4, "relabelled": 0, "replayed": 1}
    assert metrics["words"] == {"base": 20, "captions": 2}
    lost, teacher = metrics["teachers"]
    assert (lost["checkpoint"], lost["gates"], lost["mean_reliability"]) == ("unknown", [], None)
    assert teacher == {
        "checkpoint": "teacher-e0-s5",
        "promotion": 1,
        "labels_trained": 3,
        "instances": 5,
        "mean_reliability": 0.75,
        "action": "promote",
        "reasons": ["good"],
        "gates": gates,
    }


def test_a_first_teachers_card_says_that_it_had_no_teacher() -> None:
    files = teacher_card("teacher-e0-s5", config=RunConfig(), base_classes=20, step=5)

    assert "No teacher: trained on masks alone." in files["README.md"].decode()
    assert json.loads(files["metrics.json"])["teachers"] == []
