"""The labeler: leases a shard, labels its samples with the newest teacher, and commits labels and cursor together."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Final

from xpm_stream import crash_points
from xpm_stream.config import RunConfig
from xpm_stream.errors import LeaseLost, SampleError, ShardError
from xpm_stream.label_queue import (
    Capacity,
    CommitBatch,
    LabelQueue,
    Lease,
    Reject,
    RelabelLease,
    RelabelReject,
    RelabelWork,
)
from xpm_stream.records import LabelMessage, SampleId
from xpm_stream.stages.annotator import Annotator
from xpm_stream.stages.prefetch import Prefetched
from xpm_stream.stages.prepared_samples import Prepared, PreparedSample, SamplePreparer, ShardEnd, Usable
from xpm_stream.stages.process import Role, open_queue, role_process
from xpm_stream.stages.run_end import LabelersEnd
from xpm_stream.stages.shard_registration import ShardRegistration

_IDLE_S: Final = 0.5  # between two looks for work
_DEPTH: Final = 2  # batches that the shard reader is ahead
_RELABEL_AFTER_S: Final = 5.0  # an image whose store did not answer
_RENEWALS_PER_LEASE: Final = 4  # while waiting for capacity
_MOST_SAMPLES_PER_COMMIT: Final = 64  # unusable samples cost little: do not wait for a full batch of usable ones


def run_labeler(config: RunConfig, *, index: int = 0) -> None:
    """Label until the corpus is finished or the process is told to stop; `index` numbers the labelers of a machine."""
    name = f"labeler-{index}"
    with (
        role_process(name, kind="labeler", config=config, port_offset=2 + index) as role,
        open_queue(role) as queue,
    ):
        annotator = Annotator.await_teacher(role)
        if annotator is not None:
            Labeler(role, queue=queue, annotator=annotator).run()


class Labeler:
    """One labeler worker."""

    def __init__(self, role: Role, *, queue: LabelQueue, annotator: Annotator) -> None:
        self._role = role
        self._config = role.config
        self._queue = queue
        self._annotator = annotator
        self._metrics = role.metrics.labeler
        self._preparer = SamplePreparer(self._config.data, metrics=self._metrics)
        self._end = LabelersEnd(role)

    def run(self) -> None:
        """Work until the run is over, or until told to stop."""
        with ShardRegistration(self._config.data, queue=self._queue, watchdog=self._role.watchdog) as registration:
            while not self._role.stop.is_set():
                self._role.watchdog.progress("looking for work")
                registration.check()
                if self._relabel() or self._label_next_shard():
                    continue
                progress = self._queue.corpus_progress()
                if registration.name_again(progress.shards):
                    continue
                if self._end.reached(progress):
                    return
                self._role.stop.wait(_IDLE_S)

    # -- shards

    def _label_next_shard(self) -> bool:
        lease = self._queue.acquire(self._role.name)
        if lease is None:
            return False
        self._metrics.leases_taken.inc()
        crash_points.reach("labeler.after_lease")
        self._role.log.info("shard taken", url=lease.shard.url, ordinal=lease.cursor.ordinal, token=lease.token)
        try:
            self._label_shard(lease)
        except LeaseLost as error:
            self._metrics.leases_lost.inc()
            self._role.log.warning("lease lost: the batch is dropped", url=lease.shard.url, reason=str(error))
        return True

    def _label_shard(self, lease: Lease) -> None:
        try:
            # A shard that was given up at this very place before may hold a sample that kills its labeler.
            if lease.takeovers > 1 or lease.tried:
                lease = self._one_by_one(lease)
            if not lease.finished and not self._role.stop.is_set():
                lease = self._in_batches(lease)
        except ShardError as error:
            self._role.metrics.count_error(error)
            self._role.log.error("shard failed", url=lease.shard.url, reason=str(error))
            self._queue.fail_shard(lease, reason=str(error))
            return
        if lease.finished:
            self._metrics.shards_finished.inc()
            self._role.log.info("shard finished", url=lease.shard.url, samples=lease.cursor.ordinal)
        else:
            self._queue.release(lease)

    def _in_batches(self, lease: Lease) -> Lease:
        produce = partial(self._preparer.prepare, lease.shard, cursor=lease.cursor)
        usable = self._config.labeler.batch_images
        watchdog = self._role.watchdog
        with Prefetched(produce, depth=_DEPTH * usable, name="shard reader", watchdog=watchdog) as prepared:
            for batch in batched_for_commit(self._timed(prepared), usable=usable, most=_MOST_SAMPLES_PER_COMMIT):
                if not self._wait_for_capacity(lease):
                    break
                lease = self._commit(lease, batch)
                if lease.finished or self._role.stop.is_set():
                    break
        return lease

    def _one_by_one(self, lease: Lease) -> Lease:
        """Get past what a labeler that died may have had in hand: read, decode, label and commit each sample alone.

        Each is booked in Redis before it is read. One that `queue.max_attempts` labelers died of is passed over.

        Raises:
            ShardError: even passing over it kills.
        """
        most = self._config.queue.max_attempts
        behind = lease.cursor.ordinal + _MOST_SAMPLES_PER_COMMIT + _DEPTH * self._config.labeler.batch_images + 1
        self._role.log.warning("one by one", url=lease.shard.url, ordinal=lease.cursor.ordinal, tried=lease.tried)
        # Not in a thread of its own: that would read ahead of what is booked.
        with closing(self._preparer.prepare(lease.shard, cursor=lease.cursor)) as prepared:
            while not lease.finished and lease.cursor.ordinal < behind:
                if self._role.stop.is_set() or not self._wait_for_capacity(lease):
                    break
                self._role.watchdog.progress(f"sample {lease.cursor.ordinal} of {lease.shard.url}, alone")
                tried = lease.tried
                if tried > most:
                    raise ShardError(f"{tried} labelers died at sample {lease.cursor.ordinal}, or passing over it")
                lease = self._queue.try_sample(lease)
                if tried == most:
                    return self._commit(
                        lease, [self._preparer.pass_over(lease.shard, cursor=lease.cursor)], tried=tried
                    )
                lease = self._commit(lease, [next(prepared)])
        return lease

    def _commit(self, lease: Lease, batch: Sequence[Prepared], *, tried: int = 1) -> Lease:
        samples = [item for item in batch if isinstance(item, PreparedSample)]
        labels = self._annotator.annotate(
            [(lease.shard.sample(s.ordinal), s.outcome) for s in samples if isinstance(s.outcome, Usable)]
        )
        crash_points.reach("labeler.after_label")
        skips: dict[str, list[int]] = {}
        for sample in samples:
            if isinstance(sample.outcome, str):
                skips.setdefault(sample.outcome, []).append(sample.ordinal)
        rejects = [
            Reject(
                ordinal=s.ordinal,
                reason=s.outcome.reason,
                detail=str(s.outcome),
                byte_offset=s.offset,
                attempts=tried,
            )
            for s in samples
            if isinstance(s.outcome, SampleError)
        ]
        last = batch[-1]
        end = last if isinstance(last, ShardEnd) else None
        commit = CommitBatch(
            cursor=last.cursor,
            labels=labels,
            skips=skips,
            rejects=rejects,
            finished=end is not None,
            note=end.damage if end else None,
        )
        with self._metrics.commit_seconds.time():
            renewed = self._queue.commit(lease, commit)
        crash_points.reach("labeler.after_commit")
        self._count(labels, {reason: len(ordinals) for reason, ordinals in skips.items()}, rejects)
        return renewed

    def _wait_for_capacity(self, lease: Lease) -> bool:
        """Wait while too many labels are unacknowledged, keeping the lease; false if told to stop meanwhile."""
        started = time.monotonic()
        renewed_at = idle_until = float("-inf")

        def waiting(_: Capacity) -> None:
            nonlocal renewed_at, idle_until
            self._metrics.waiting.set(1)
            self._role.watchdog.progress("waiting for capacity")
            # Not at each look: many labelers that wait would keep Redis busy with nothing else.
            if time.monotonic() - renewed_at > lease.ttl_s / _RENEWALS_PER_LEASE:
                self._queue.renew(lease)
                renewed_at = time.monotonic()
            # Only labelers take relabel work, and the budget may be full of it: then nothing else would ever make room.
            if time.monotonic() >= idle_until and not self._relabel():
                idle_until = time.monotonic() + _IDLE_S
                if self._config.trainer.steps and self._end.reached(self._queue.corpus_progress()):
                    self._role.stop.set()  # no trainer makes room any more

        try:
            return self._queue.wait_for_capacity(self._role.stop, on_wait=waiting)
        finally:
            self._metrics.waiting.set(0)
            self._metrics.waiting_seconds.inc(time.monotonic() - started)

    def _timed(self, prepared: Iterable[Prepared]) -> Iterator[Prepared]:
        """Pass items on, counting the seconds waited for them."""
        iterator = iter(prepared)
        while True:
            started = time.monotonic()
            item = next(iterator, None)
            self._metrics.read_wait_seconds.inc(time.monotonic() - started)
            if item is None:
                return
            yield item

    # -- relabelling

    def _relabel(self) -> bool:
        """Label again what the trainer sent back: before new shards, because it is counted in the budget already."""
        lease = self._queue.take_relabels(self._role.name, count=self._config.labeler.batch_images)
        if lease is None:
            return False
        crash_points.reach("labeler.after_relabel_lease")
        try:
            self._relabel_leased(lease)
        except LeaseLost as error:
            self._metrics.leases_lost.inc()
            self._role.log.warning("relabel lease lost: the batch is dropped", reason=str(error))
        return True

    def _relabel_leased(self, lease: RelabelLease) -> None:
        usable: list[tuple[SampleId, Usable]] = []
        rejects: list[RelabelReject] = []
        later: list[SampleId] = []
        for work in lease.work:
            outcome = self._prepare_again(work)
            if isinstance(outcome, Usable):
                usable.append((work.sample, outcome))
            elif isinstance(outcome, Reject):
                rejects.append(RelabelReject(sample=work.sample, reject=outcome))
            else:
                later.append(work.sample)
        labels = self._annotator.annotate(usable)
        crash_points.reach("labeler.after_relabel_label")
        self._queue.commit_relabels(lease, labels=labels, rejects=rejects, later=later, after_s=_RELABEL_AFTER_S)
        crash_points.reach("labeler.after_relabel_commit")
        self._metrics.samples_relabelled.inc(len(labels))
        self._count(labels, {}, [item.reject for item in rejects])

    def _prepare_again(self, work: RelabelWork) -> Usable | Reject | None:
        """Make a sample ready to be labelled again; a reject where that is hopeless, none where it is to be put off."""
        most, ordinal = self._config.queue.max_attempts, work.sample.ordinal
        if work.tried > most:
            detail = f"{most} labelers died while they labelled sample {work.sample} again, alone"
            return Reject(ordinal=ordinal, reason="kills_labeler", detail=detail, attempts=most)
        self._role.watchdog.progress(f"preparing sample {work.sample} again")
        outcome = self._preparer.prepare_again(work)
        if isinstance(outcome, Usable):
            return outcome
        if isinstance(outcome, SampleError):
            return Reject(ordinal=ordinal, reason=outcome.reason, detail=str(outcome))
        self._role.metrics.count_error(outcome)
        if work.attempts + 1 < most:
            self._role.log.warning("put off", sample=str(work.sample), reason=str(outcome), attempt=work.attempts + 1)
            return None
        reason = "shard_unavailable" if work.message is None else "image_unavailable"
        return Reject(ordinal=ordinal, reason=reason, detail=str(outcome), attempts=most)

    # -- counting

    def _count(self, labels: Sequence[LabelMessage], skips: Mapping[str, int], rejects: Sequence[Reject]) -> None:
        metrics = self._metrics
        metrics.batches.inc()
        metrics.samples_labelled.inc(len(labels))
        for reason, number in skips.items():
            metrics.samples_skipped.labels(reason).inc(number)
        for reject in rejects:
            metrics.samples_rejected.labels(reject.reason).inc()
            self._role.log.warning("rejected", ordinal=reject.ordinal, reason=reject.reason, detail=reject.detail)
        for label in labels:
            findings = label.annotation.findings()
            metrics.instances.observe(len(findings))
            if not findings:
                metrics.empty_labels.inc()
            for finding in findings:
                metrics.score.observe(finding.score)
                if finding.reliability is not None:
                    metrics.reliability.observe(finding.reliability)


def batched_for_commit(items: Iterable[Prepared], *, usable: int, most: int) -> Iterator[list[Prepared]]:
    """Group consecutive samples so that a group holds at most `usable` usable ones and `most` in all."""
    batch: list[Prepared] = []
    count = 0
    for item in items:
        batch.append(item)
        count += isinstance(item, PreparedSample) and isinstance(item.outcome, Usable)
        if count == usable or len(batch) == most or isinstance(item, ShardEnd):
            yield batch
            batch, count = [], 0
