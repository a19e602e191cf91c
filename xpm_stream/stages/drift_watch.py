"""The drift monitor: reads every label past the trainer, judges windows of them, and holds promotions back."""

from __future__ import annotations

import numpy as np
import structlog

from xpm_stream.config import RunConfig
from xpm_stream.errors import MessageError
from xpm_stream.label_queue import LabelQueue
from xpm_stream.label_queue.watching_labels import LabelPage, LabelWatcher, StreamPlace, WatchedLabel
from xpm_stream.monitoring.drift_attribution import attribute, together
from xpm_stream.monitoring.drift_brake import Brake, Judged
from xpm_stream.monitoring.drift_records import QueueInWindow, ResumePoint, WindowRecord
from xpm_stream.monitoring.drift_store import DriftStore
from xpm_stream.monitoring.drift_verdicts import judge
from xpm_stream.monitoring.label_window import ClosedWindow, LabelWindow
from xpm_stream.stages.drift_gauges import DriftGauges
from xpm_stream.stages.drift_references import ReadyReference, References
from xpm_stream.stages.process import Role, open_queue, role_process
from xpm_stream.stages.queue_observer import QueueObserver

PORT_OFFSET = 999


def run_monitor(config: RunConfig, *, new_reference: bool = False) -> None:
    """Watch the label stream until told to stop.

    Args:
        config: the run's.
        new_reference: what the labels are now is how they should be: forget the frozen reference, release the brake,
            and collect a new one.
    """
    with (
        role_process("monitor", kind="monitor", config=config, port_offset=PORT_OFFSET) as role,
        open_queue(role) as queue,
        QueueObserver(queue, metrics=role.metrics),
    ):
        store = DriftStore(role.open_registry(""))
        watch = DriftWatch(role, queue=queue, store=store, new_reference=new_reference)
        try:
            watch.run()
        finally:
            watch.close()


class DriftWatch:
    """One monitor at work."""

    def __init__(self, role: Role, *, queue: LabelQueue, store: DriftStore, new_reference: bool = False) -> None:
        if new_reference:
            store.forget_reference("frozen")
        self._role = role
        self._config = role.config.drift
        self._queue = queue
        self._store = store
        self._log: structlog.stdlib.BoundLogger = role.log
        self._references = References(role, store)
        self._window = LabelWindow(self._references.settings.limits)
        newest = store.newest_window()
        self._number = 0 if newest is None else newest.number
        self._ended_at_s = None if newest is None else newest.ended_at_s  # of the last closed window
        self._place = _place_of(newest)
        self._watcher = LabelWatcher(queue, self._place)
        self._brake = _brake_of(newest, release_windows=self._config.brake_release_windows)
        if not self._config.brake or new_reference:
            self._brake.release()
        self._gauges = DriftGauges(role.metrics.drift)
        self._gauges.brake.set(self._brake.on)

    def run(self) -> None:
        """Read, judge and write until told to stop; then what is still on the stream, and the window that is open.

        Raises:
            RegistryError: another monitor writes the same windows, or the registry cannot be written.
            QueueUnavailable: Redis stayed away.
        """
        while not self._role.stop.is_set():
            self._read()
            self._references.poll()
            self._role.watchdog.progress("waiting for labels")
            self._role.stop.wait(self._config.poll_s)
        self._read()
        if len(self._window):
            self._close_window()

    def close(self) -> None:
        """End what is under way."""
        self._references.close()

    def _read(self) -> None:
        """Read to the end of the stream; close the window if its time is up."""
        while True:
            self._role.watchdog.progress("reading labels")
            seen, missed = self._watcher.seen, self._watcher.missed
            page = self._watcher.read()
            self._gauges.count_labels(seen=self._watcher.seen - seen, missed=self._watcher.missed - missed)
            self._report_unreadable(page)
            for number, label in enumerate(page.labels, start=1):
                self._take(label)
                self._place = self._watcher.place_after(label.entry_id, unread=len(page.labels) - number)
                if self._window.full:
                    self._close_window()
            if page.ends:
                self._place = self._watcher.place_after(self._place.entry_id, unread=0)
                if self._window.due(page.now_s):
                    self._close_window(now_s=page.now_s)
                return

    def _report_unreadable(self, page: LabelPage) -> None:
        """Count labels that cannot be read; said once a page, as labelers of a newer release write nothing else."""
        errors = [one.message for one in page.labels if isinstance(one.message, MessageError)]
        for error in errors:
            self._role.metrics.count_error(error)
        if errors:
            self._log.warning("labels that cannot be read", labels=len(errors), first=str(errors[0]))

    def _take(self, label: WatchedLabel) -> None:
        message = label.message
        if isinstance(message, MessageError):
            return
        if self._window.due(label.committed_at_s):
            self._close_window(now_s=label.committed_at_s)
        teacher = message.teacher.promotion
        if self._references.samples.is_newer(teacher):
            # A window holds one teacher's labels, but for those that slower labelers still made with the one before.
            if len(self._window):
                self._close_window()
            self._references.change_teacher(teacher)
        self._window.add(message, at_s=label.committed_at_s)

    def _close_window(self, *, now_s: float | None = None) -> None:
        """Judge the open window and write its record, which is also where the next monitor goes on."""
        window = self._window.close(now_s=now_s)
        judged = [self._judge(window, ready) for ready in self._references.ready.values()]
        if self._config.brake:
            before = self._brake.on
            self._brake.take(judged, now_s=window.ended_at_s)
            if self._brake.on != before:
                self._log.warning("brake on" if self._brake.on else "brake released", reasons=self._brake.reasons)
        self._number += 1
        record = self._record(window, judged)
        self._store.add_window(record, keep=self._config.keep_windows)
        self._ended_at_s = window.ended_at_s
        self._gauges.show(record, judged)
        self._references.take(window.measures, window.teachers)
        self._log.info("window", number=self._number, labels=window.num_labels, cause=record.cause)

    def _judge(self, window: ClosedWindow, ready: ReadyReference) -> Judged:
        reference = ready.reference
        counts = window.counts_on(reference)
        verdict = judge(reference, ready.thresholds, counts)
        if not verdict.above and not verdict.missing:
            return Judged(verdict=verdict, attribution=None)
        checkpoints = {f"v{entry.number}": entry.checkpoint for entry in self._role.promotions.entries()}
        before, after = checkpoints.get(reference.teacher), checkpoints.get(verdict.teacher)
        attribution = attribute(
            verdict,
            reference,
            np.array(counts.counts, dtype=np.int64),
            same_teacher=reference.teacher == verdict.teacher or (before is not None and before == after),
            canary_reference=None if before is None else self._store.canary_labels(before),
            canary_window=None if after is None else self._store.canary_labels(after),
        )
        assert attribution is not None, "something is above or missing"
        self._log.warning(
            "drift",
            reference=reference.name,
            cause=attribution.cause,
            above=[f"{one.quantity} {one.statistic}" for one in verdict.above],
            missing=verdict.missing,
            teacher=verdict.teacher,
            reference_teacher=reference.teacher,
        )
        return Judged(verdict=verdict, attribution=attribution)

    def _record(self, window: ClosedWindow, judged: list[Judged]) -> WindowRecord:
        causes = [one.attribution.cause for one in judged if one.attribution is not None]
        teachers = window.teacher_counts
        since_s = window.started_at_s if self._ended_at_s is None else self._ended_at_s
        stats = self._queue.stats()
        return WindowRecord(
            number=self._number,
            started_at_s=window.started_at_s,
            ended_at_s=window.ended_at_s,
            num_labels=window.num_labels,
            labels_seen=self._place.seen,
            labels_missed=self._place.missed,
            teacher=next(iter(teachers)),
            teachers=teachers,
            verdicts=[one.verdict for one in judged],
            cause=together(causes) if causes else None,
            quantiles=window.quantiles(),
            instances_per_label=window.instances_per_label(),
            words=window.words(),
            labels_per_second=window.num_labels / max(window.ended_at_s - since_s, 0.001),
            queue=QueueInWindow(**{name: getattr(stats, name) for name in QueueInWindow.__struct_fields__}),
            brake=self._brake.on,
            brake_since_s=self._brake.since_s,
            brake_reasons=self._brake.reasons,
            resume=ResumePoint(
                entry_id=self._place.entry_id,
                lost_by_redis=self._place.lost_by_redis,
                quiet_windows=self._brake.quiet_windows,
            ),
        )


def _place_of(newest: WindowRecord | None) -> StreamPlace:
    if newest is None:
        return StreamPlace()
    return StreamPlace(
        entry_id=newest.resume.entry_id,
        seen=newest.labels_seen,
        missed=newest.labels_missed,
        lost_by_redis=newest.resume.lost_by_redis,
    )


def _brake_of(newest: WindowRecord | None, *, release_windows: int) -> Brake:
    brake = Brake(release_windows=release_windows)
    if newest is not None:
        brake.on, brake.since_s, brake.reasons = newest.brake, newest.brake_since_s, list(newest.brake_reasons)
        brake.quiet_windows = newest.resume.quiet_windows
    return brake
