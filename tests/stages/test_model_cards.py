"""A candidate's card says whose labels it learned, and from what."""

from __future__ import annotations

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
        promotions.append("promote", by="test", checkpoint=name)
    ledger = TrainedLedger()
    for ordinal in range(3):
        ledger.add(SampleId(0, ShardId("a"), ordinal))
    state = TrainingState(step=12, epoch=2, samples_trained=3)
    state.by_teacher = {"1": TeacherTally(samples=2), "2": TeacherTally(samples=1)}

    files = student_card(
        "student-e2-s12", config=RunConfig(name="demo"), base_classes=20, state=state, ledger=ledger,
        promotions=promotions,
    )  # fmt: skip

    text = files["README.md"].decode()
    nearest = text.index("1. `student-e1-s9`, promotion 2, 1 labels")
    assert nearest < text.index("2. `teacher-e0-s5`, promotion 1, 2 labels")
    assert ledger.digest() in text
    assert "| caption shards | 1 |" in text
    assert "| samples trained | 3 |" in text


def test_a_first_teachers_card_says_that_it_had_no_teacher() -> None:
    files = teacher_card("teacher-e0-s5", config=RunConfig(), base_classes=20, step=5)

    assert "No teacher: trained on masks alone." in files["README.md"].decode()
