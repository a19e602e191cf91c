"""From which labels the references are made: of one teacher each, so that a change can be laid at a teacher's door."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from xpm_stream.monitoring.drift_measures import LabelMeasures
from xpm_stream.monitoring.drift_reference import MIN_REFERENCE_LABELS

ReferenceName = Literal["frozen", "previous_teacher", "current_teacher"]
REFERENCE_NAMES: Final[tuple[ReferenceName, ...]] = ("frozen", "previous_teacher", "current_teacher")
LASTING: Final[tuple[ReferenceName, ...]] = ("frozen", "previous_teacher")  # of use to a monitor that starts anew


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceSample:
    """Labels to make a reference of."""

    name: ReferenceName
    teacher: str  # version
    labels: list[LabelMeasures]  # in stream order


class ReferenceSamples:
    """Collects labels of the newest teacher.

    The frozen reference is the first `size` labels of one teacher. If the teacher changes before there are so many,
    half of them are enough; with fewer it begins anew with the next teacher. The previous teacher's reference is the
    last `size` labels it made before the teacher changed; half are enough again, and with fewer the one before stays.
    The current teacher's is the first half of `size` labels it makes, and goes with it: against it, a better teacher
    cannot hide worse data.
    """

    def __init__(self, *, size: int, need_frozen: bool) -> None:
        self.enough = enough_of(size)
        self._size = size
        self._teacher: int | None = None  # promotion number; none: no label yet
        self._first: list[LabelMeasures] | None = [] if need_frozen else None
        self._latest: deque[LabelMeasures] = deque(maxlen=size)
        self._current: list[LabelMeasures] | None = []  # none: complete

    @property
    def teacher(self) -> str:
        """Version of the teacher whose labels are collected."""
        return f"v{self._teacher}"

    @property
    def collected(self) -> dict[ReferenceName, int]:
        """Labels collected towards each next reference."""
        found: dict[ReferenceName, int] = {"previous_teacher": len(self._latest)}
        if self._first is not None:
            found["frozen"] = len(self._first)
        if self._current is not None:
            found["current_teacher"] = len(self._current)
        return found

    def is_newer(self, teacher: int) -> bool:
        """Whether this is a newer teacher than the one whose labels are collected, or the first."""
        return self._teacher is None or teacher > self._teacher

    def change_teacher(self, teacher: int) -> list[ReferenceSample]:
        """Begin with a newer teacher; return what the one before it left."""
        before, found = f"v{self._teacher}", []
        if self._first is not None and len(self._first) >= self.enough:
            found.append(ReferenceSample(name="frozen", teacher=before, labels=self._first))
            self._first = None
        if len(self._latest) >= self.enough:
            found.append(ReferenceSample(name="previous_teacher", teacher=before, labels=list(self._latest)))
        self._teacher = teacher
        self._first = None if self._first is None else []
        self._latest.clear()
        self._current = []
        return found

    def add(self, labels: Sequence[LabelMeasures], teachers: Sequence[int]) -> list[ReferenceSample]:
        """Take labels with their teachers' promotion numbers; return what is complete with them.

        Labels of older teachers, which slower labelers still made, are left out.
        """
        ours = [label for label, teacher in zip(labels, teachers, strict=True) if teacher == self._teacher]
        self._latest.extend(ours)
        found = []
        if self._first is not None:
            self._first += ours
            if len(self._first) >= self._size:
                found.append(ReferenceSample(name="frozen", teacher=self.teacher, labels=self._first[: self._size]))
                self._first = None
        if self._current is not None:
            self._current += ours
            if len(self._current) >= self.enough:
                found.append(ReferenceSample(name="current_teacher", teacher=self.teacher, labels=self._current))
                self._current = None
        return found


def enough_of(size: int) -> int:
    """Return the fewest labels of a teacher that a reference is made of."""
    return max(MIN_REFERENCE_LABELS, size // 2)
