"""The labels of one window of the drift monitor, and what its record says of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from xpm_stream.monitoring.drift_measures import LabelMeasures
from xpm_stream.monitoring.drift_records import WordInWindow
from xpm_stream.monitoring.drift_reference import DriftReference
from xpm_stream.monitoring.drift_windows import WindowCounts, WindowLimits
from xpm_stream.monitoring.label_measures import measures_of
from xpm_stream.records import LabelMessage

_QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
_MOST_WORDS: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedWindow:
    """A window's labels, in stream order."""

    measures: list[LabelMeasures]
    teachers: list[int]  # promotion number of each label's teacher
    word_mentions: Counter[str]  # labels whose captions name a word
    word_reliabilities: dict[str, list[float]]
    started_at_s: float
    ended_at_s: float

    @property
    def num_labels(self) -> int:
        """Labels in the window."""
        return len(self.measures)

    @property
    def teacher_counts(self) -> dict[str, int]:
        """Labels by teacher version, most first."""
        return {f"v{number}": labels for number, labels in Counter(self.teachers).most_common()}

    def counts_on(self, reference: DriftReference) -> WindowCounts:
        """Return the labels' counts on a reference's bins."""
        return WindowCounts(
            bins_id=reference.bins_id,
            num_labels=self.num_labels,
            counts=reference.layout.count(self.measures).sum(axis=0).tolist(),
            teachers=self.teacher_counts,
            started_at_s=self.started_at_s,
            ended_at_s=self.ended_at_s,
        )

    def quantiles(self) -> dict[str, dict[str, float] | None]:
        """Return quantiles of reliability and score, by level; none where there are no values."""
        return {
            "reliability": _quantiles([value for one in self.measures for value in one.reliabilities]),
            "score": _quantiles([value for one in self.measures for value in one.scores]),
        }

    def instances_per_label(self) -> float:
        """Return the mean number of things found in an image."""
        return sum(len(one.scores) for one in self.measures) / self.num_labels

    def words(self) -> list[WordInWindow]:
        """Return the most frequent words, with the mean reliability of what was found under their name."""
        ranked = sorted(self.word_mentions.items(), key=lambda item: (-item[1], item[0]))[:_MOST_WORDS]
        return [
            WordInWindow(word=word, mentions=mentions, reliability=_mean(self.word_reliabilities.get(word, ())))
            for word, mentions in ranked
        ]


@dataclass(slots=True)
class LabelWindow:
    """The open window. It holds its labels, so that any reference can be compared with it when it closes."""

    limits: WindowLimits
    _measures: list[LabelMeasures] = field(default_factory=list)
    _teachers: list[int] = field(default_factory=list)
    _mentions: Counter[str] = field(default_factory=Counter)
    _reliabilities: dict[str, list[float]] = field(default_factory=dict)
    _started_at_s: float = 0.0
    _last_at_s: float = 0.0

    def __len__(self) -> int:
        return len(self._measures)

    @property
    def full(self) -> bool:
        """Whether it closes by its number of labels."""
        return len(self) >= self.limits.max_labels

    def due(self, now_s: float) -> bool:
        """Whether it closes by time; never before its first label."""
        return len(self) > 0 and now_s - self._started_at_s >= self.limits.max_seconds

    def add(self, label: LabelMessage, *, at_s: float) -> None:
        """Take a label that was committed at a time, not before those taken already."""
        if not len(self):
            self._started_at_s = self._last_at_s = at_s
        self._last_at_s = max(self._last_at_s, at_s)
        self._measures.append(measures_of(label))
        self._teachers.append(label.teacher.promotion)
        self._mentions.update(label.words)
        for finding in label.findings():
            if finding.reliability is not None:
                self._reliabilities.setdefault(finding.word, []).append(finding.reliability)

    def close(self, *, now_s: float | None = None) -> ClosedWindow:
        """Return its labels, and begin the next window.

        It ends with its last label; given the time because it is due, at the end of its time.
        """
        ended_at_s = self._last_at_s
        if now_s is not None and self.due(now_s):
            ended_at_s = max(ended_at_s, self._started_at_s + self.limits.max_seconds)
        closed = ClosedWindow(
            measures=self._measures,
            teachers=self._teachers,
            word_mentions=self._mentions,
            word_reliabilities=self._reliabilities,
            started_at_s=self._started_at_s,
            ended_at_s=ended_at_s,
        )
        self._measures, self._teachers, self._mentions, self._reliabilities = [], [], Counter(), {}
        return closed


def _quantiles(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    return dict(zip(map(str, _QUANTILES), np.quantile(values, _QUANTILES).tolist(), strict=True))


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None
