"""The references that windows are judged against: kept in the registry, calibrated one after the other, then ready."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xpm_stream.monitoring.drift_measures import LabelMeasures
from xpm_stream.monitoring.drift_reference import DriftReference, build_reference
from xpm_stream.monitoring.drift_samples import LASTING, REFERENCE_NAMES, ReferenceSample, ReferenceSamples
from xpm_stream.monitoring.drift_store import DriftStore
from xpm_stream.monitoring.drift_thresholds import DriftThresholds
from xpm_stream.stages.drift_calibration import Calibration, checked_settings
from xpm_stream.stages.process import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyReference:
    """A reference with the thresholds for its windows."""

    reference: DriftReference
    thresholds: DriftThresholds


class References:
    """The frozen reference, the previous teacher's and the current one's, as they come to be."""

    def __init__(self, role: Role, store: DriftStore) -> None:
        config = role.config.drift
        self._role = role
        self._config = config
        self._store = store
        self.settings = checked_settings(config)
        self.ready: dict[str, ReadyReference] = {}
        self._waiting: list[DriftReference] = []  # for a calibration, oldest first
        self._calibration: Calibration | None = None
        self._labels: dict[str, int] = {}  # in the newest reference of a name
        found = {name: store.reference(name) for name in LASTING}
        self.samples = ReferenceSamples(size=config.reference_labels, need_frozen=found["frozen"] is None)
        for reference in filter(None, found.values()):
            self._load(reference)
        self._show()

    def take(self, labels: Sequence[LabelMeasures], teachers: Sequence[int]) -> None:
        """Collect a closed window's labels, given with their teachers' promotion numbers."""
        self._make(self.samples.add(labels, teachers))

    def change_teacher(self, teacher: int) -> None:
        """Begin to collect a newer teacher's labels."""
        collected = self.samples.collected.get("frozen", 0)
        self._make(self.samples.change_teacher(teacher))
        self.ready.pop("current_teacher", None)
        self._labels.pop("current_teacher", None)
        self._show()
        if 0 < collected < self.samples.enough:
            self._role.log.warning(
                "the frozen reference begins anew: the teacher changed before it had enough labels",
                labels=collected,
                enough=self.samples.enough,
                way_out="lower drift.reference_labels, or raise promotion.every_steps",
            )

    def poll(self) -> None:
        """Take finished thresholds up, and begin with the next reference.

        Raises:
            XpmStreamError: a calibration failed.
        """
        if self._calibration is not None:
            thresholds = self._calibration.poll()
            if thresholds is None:
                return
            reference = self._calibration.reference
            self._end_calibration()
            self._store.add_thresholds(reference.name, thresholds)
            if not self._is_past(reference):
                self._use(reference, thresholds)
        self._waiting = [one for one in self._waiting if not self._is_past(one)]
        if self._waiting:
            self._calibration = Calibration(self._waiting.pop(0), self.settings)

    def _is_past(self, reference: DriftReference) -> bool:
        """Whether this is a current teacher's reference, and the teacher is another by now."""
        return reference.name == "current_teacher" and reference.teacher != self.samples.teacher

    def close(self) -> None:
        """End what is under way; the next monitor does it again."""
        self._end_calibration()

    def _make(self, samples: Sequence[ReferenceSample]) -> None:
        for sample in samples:
            reference = build_reference(
                sample.labels,
                name=sample.name,
                teacher=sample.teacher,
                num_bins=self._config.num_bins,
                top_words=self._config.top_words,
            )
            self._store.add_reference(reference)
            self._labels[sample.name] = reference.num_labels
            self._role.log.info(
                "drift reference made",
                reference=sample.name,
                teacher=sample.teacher,
                labels=reference.num_labels,
                left_out=reference.left_out,
            )
            self._wait(reference)
        self._show()

    def _load(self, reference: DriftReference) -> None:
        self._labels[reference.name] = reference.num_labels
        thresholds = self._store.thresholds(reference.name)
        if thresholds is not None and self.settings.made(thresholds, reference):
            self._use(reference, thresholds)
        else:
            self._wait(reference)

    def _wait(self, reference: DriftReference) -> None:
        self._waiting = [one for one in self._waiting if one.name != reference.name] + [reference]

    def _use(self, reference: DriftReference, thresholds: DriftThresholds) -> None:
        self.ready[reference.name] = ReadyReference(reference=reference, thresholds=thresholds)
        self._role.log.info("drift reference ready", reference=reference.name, teacher=reference.teacher)
        self._show()

    def _show(self) -> None:
        gauges = self._role.metrics.drift
        for name in REFERENCE_NAMES:
            collected = self.samples.collected.get(name, 0)
            gauges.reference_labels.labels(name).set(self._labels.get(name, collected))
            gauges.reference_ready.labels(name).set(name in self.ready)

    def _end_calibration(self) -> None:
        if self._calibration is not None:
            self._calibration.close()
            self._calibration = None
