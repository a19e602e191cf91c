"""Drift verdicts and window records for tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit, logit

from benchmarks.drift_labels import LabelModel
from xpm_stream.monitoring.drift_measures import LabelMeasures
from xpm_stream.monitoring.drift_records import QueueInWindow, ResumePoint, WindowRecord, WordInWindow
from xpm_stream.monitoring.drift_reference import DriftReference, build_reference

QUEUE = QueueInWindow(
    unacked_labels=7,
    unacked_bytes=700,
    oldest_label_age_s=1.5,
    relabels=0,
    dead_letters=1,
    shards_pending=3,
    shards_leased=2,
    shards_finished=1,
    shards_failed=0,
    labels_committed=100,
    labels_acknowledged=90,
)


def labels(number: int, *, seed: int = 0, **model: Any) -> list[LabelMeasures]:
    return LabelModel(**model).draw(number, np.random.default_rng(seed))


def reference(*, name: str = "frozen", teacher: str = "v1", seed: int = 0, number: int = 400) -> DriftReference:
    return build_reference(labels(number, seed=seed), name=name, teacher=teacher)


def window(number: int, **changes: Any) -> WindowRecord:
    values: dict[str, Any] = {
        "number": number,
        "started_at_s": 1.7e9 + number,
        "ended_at_s": 1.7e9 + number + 1,
        "num_labels": 10,
        "labels_seen": 10 * number,
        "labels_missed": 1,
        "teacher": "v1",
        "teachers": {"v1": 10},
        "verdicts": [],
        "cause": None,
        "quantiles": {"reliability": {"0.5": 0.75}, "score": None},
        "instances_per_label": 1.5,
        "words": [WordInWindow(word="cat", mentions=3, reliability=None)],
        "labels_per_second": 10.0,
        "queue": QUEUE,
        "brake": False,
        "resume": ResumePoint(entry_id=f"{number}-0", quiet_windows=number),
    }
    return WindowRecord(**{**values, **changes})


def taught_otherwise(
    before: list[LabelMeasures],
    *,
    reliability: float = 0.0,
    score: float = 0.0,
    area: float = 0.0,
    noise: float = 0.1,
    seed: int = 0,
) -> list[LabelMeasures]:
    """The same images labelled by a teacher whose logits are shifted, and never quite the same."""
    rng = np.random.default_rng(seed)

    def moved(values: Any, shift: float) -> list[float]:
        found: list[float] = expit(logit(np.array(values)) + shift + noise * rng.standard_normal(len(values))).tolist()
        return found

    return [
        LabelMeasures(
            scores=moved(one.scores, score),
            reliabilities=moved(one.reliabilities, reliability),
            box_area_shares=moved(one.box_area_shares, area),
            nouns_per_caption=one.nouns_per_caption,
            words=one.words,
        )
        for one in before
    ]
