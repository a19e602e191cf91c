"""The labeler: leases a shard, labels its samples with the newest teacher, and commits labels and cursor together."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Final

from xpm_stream import crash_points
from xpm_stream.config import RunConfig
from xpm_stream.errors import LeaseLost, SampleError, ShardError, ShardUnavailable
from xpm_stream.label_queue import Capacity, CommitBatch, LabelQueue, Lease, Reject
from xpm_stream.stages.annotator import Annotator
from xpm_stream.stages.changed_shards import check_unchanged
from xpm_stream.stages.label_counts import count_outcomes
from xpm_stream.stages.lease_keeper import KeptLease, LeaseKeeper
from xpm_stream.stages.patience import waits_s
from xpm_stream.stages.prefetch import Prefetched
from xpm_stream.stages.prepared_samples import Prepared, PreparedSample, SamplePreparer, ShardEnd, Usable
from xpm_stream.stages.process import Role, open_queue, role_process
from xpm_stream.stages.relabeling import Relabeler
from xpm_stream.stages.run_end import LabelersEnd
from xpm_stream.stages.shard_registration import ShardRegistration

_IDLE_S: Final = 0.5  # between two looks for work
_DEPTH: Final = 2  # batches that the shard reader is ahead
MOST_SAMPLES_PER_COMMIT: Final = 64  # unusable samples cost little: do not wait for a full batch of usable ones


def run_labeler(config: RunConfig, *, index: int = 0) -> None:
    """Label until the corpus is finished or the process is told to stop; `index` numbers the labelers of a machine."""
    name = f"labeler-{index}"
    with (
        role_process(name, kind="labeler", config=config, port_offset=2 + index) as role,
        open_queue(role) as queue,
    ):
        annotator = Annotator.await_teacher(role)
        if annotator is not None:
            with LeaseKeeper() as keeper:
                Labeler(role, queue=queue, annotator=annotator, keeper=keeper).run()


class Labeler:
    """One labeler worker."""

    def __init__(self, role: Role, *, queue: LabelQueue, annotator: Annotator, keeper: LeaseKeeper) -> None:
        self._role = role
        self._config = role.config
        self._queue = queue
        self._annotator = annotator
        self._keeper = keeper
        self._metrics = role.metrics.labeler
        self._preparer = SamplePreparer(self._config.data, metrics=self._metrics)
        # One of its own: labelers relabel while they wait for capacity, and the shard reader's thread goes on.
        preparer = SamplePreparer(self._config.data, metrics=self._metrics)
        self._relabeler = Relabeler(role, queue=queue, annotator=annotator, preparer=preparer, keeper=keeper)
        self._end = LabelersEnd(role)

    def run(self) -> None:
        """Work until the run is over, or until told to stop."""
        with ShardRegistration(self._config.data, queue=self._queue, watchdog=self._role.watchdog) as registration:
            while not self._role.stop.is_set():
                self._role.watchdog.progress("looking for work")
                registration.check()
                if self._relabeler.relabel() or self._label_next_shard():
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
            with self._keeper.keep(partial(self._queue.renew, lease), ttl_s=lease.ttl_s) as kept:
                self._label_shard(lease, kept)
        except LeaseLost as error:
            self._metrics.leases_lost.inc()
            self._role.log.warning("lease lost: the batch is dropped", url=lease.shard.url, reason=str(error))
        return True

    def _label_shard(self, lease: Lease, kept: KeptLease) -> None:
        try:
            # A shard that was given up at this very place before may hold a sample that kills its labeler.
            if lease.takeovers > 1 or lease.tried:
                lease = self._one_by_one(lease, kept)
            else:
                self._check_unchanged(lease)
            if not lease.finished and not self._role.stop.is_set():
                lease = self._in_batches(lease, kept)
        except ShardError as error:
            self._give_up(lease, error)
            return
        if lease.finished:
            self._metrics.shards_finished.inc()
            self._role.log.info("shard finished", url=lease.shard.url, samples=lease.cursor.ordinal)
        else:
            self._queue.release(lease)

    def _check_unchanged(self, lease: Lease) -> None:
        self._role.watchdog.progress(f"looking at {lease.shard.url}")
        check_unchanged(lease.shard, config=self._config.data, queue=self._queue)

    def _give_up(self, lease: Lease, error: ShardError) -> None:
        """Leave a shard that cannot be read: for a while where its store does not answer, else for good."""
        self._role.metrics.count_error(error)
        waits = waits_s(self._config.queue) if isinstance(error, ShardUnavailable) else []
        if self._queue.fail_shard(lease, reason=str(error), waits_s=waits):
            self._role.log.error("shard failed", url=lease.shard.url, reason=str(error))
        else:
            self._role.log.warning("shard put off", url=lease.shard.url, reason=str(error))

    def _in_batches(self, lease: Lease, kept: KeptLease) -> Lease:
        produce = partial(self._preparer.prepare, lease.shard, cursor=lease.cursor)
        usable = self._config.labeler.batch_images
        watchdog = self._role.watchdog
        with Prefetched(produce, depth=_DEPTH * usable, name="shard reader", watchdog=watchdog) as prepared:
            for batch in batched_for_commit(self._timed(prepared), usable=usable, most=MOST_SAMPLES_PER_COMMIT):
                if not self._wait_for_capacity(kept):
                    break
                lease = self._commit(lease, kept, batch)
                if lease.finished or self._role.stop.is_set():
                    break
        return lease

    def _one_by_one(self, lease: Lease, kept: KeptLease) -> Lease:
        """Get past what a labeler that died may have had in hand: read, decode, label and commit each sample alone.

        Each is booked in Redis before it is read. One that `queue.max_attempts` labelers died of is passed over.

        Raises:
            ShardError: even passing over it kills, or the shard is not what it was.
            ShardUnavailable: its store does not answer now.
        """
        most = self._config.queue.max_attempts
        behind = lease.cursor.ordinal + MOST_SAMPLES_PER_COMMIT + _DEPTH * self._config.labeler.batch_images + 1
        self._role.log.warning("one by one", url=lease.shard.url, ordinal=lease.cursor.ordinal, tried=lease.tried)
        looked = False
        # Not in a thread of its own: that would read ahead of what is booked.
        with closing(self._preparer.prepare(lease.shard, cursor=lease.cursor)) as prepared:
            while not lease.finished and lease.cursor.ordinal < behind:
                if self._role.stop.is_set() or not self._wait_for_capacity(kept):
                    break
                self._role.watchdog.progress(f"sample {lease.cursor.ordinal} of {lease.shard.url}, alone")
                tried = lease.tried
                if tried > most:
                    raise ShardError(
                        f"{tried} labelers died or hung at sample {lease.cursor.ordinal}, or opening the shard there"
                    )
                lease = self._queue.try_sample(lease)
                if tried == most:
                    passed = self._preparer.pass_over(lease.shard, cursor=lease.cursor)
                    return self._commit(lease, kept, [passed], tried=tried)
                if not looked:
                    self._check_unchanged(lease)
                    looked = True
                lease = self._commit(lease, kept, [next(prepared)])
        return lease

    def _commit(self, lease: Lease, kept: KeptLease, batch: Sequence[Prepared], *, tried: int = 1) -> Lease:
        kept.check()
        samples = [item for item in batch if isinstance(item, PreparedSample)]
        labels = self._annotator.annotate(
            [(lease.shard.sample(s.ordinal), s.outcome) for s in samples if isinstance(s.outcome, Usable)]
        )
        crash_points.reach("labeler.after_label")
        skips: dict[str, list[int]] = {}
        for sample in samples:
            if isinstance(sample.outcome, str):
                skips.setdefault(sample.outcome, []).append(sample.ordinal)
        problems = {s.ordinal: s.outcome for s in samples if isinstance(s.outcome, SampleError)}
        problems |= {sample.ordinal: error for sample, error in labels.refused.items()}
        rejects = [
            Reject(ordinal=s.ordinal, reason=problem.reason, detail=str(problem), byte_offset=s.offset, attempts=tried)
            for s in samples
            if (problem := problems.get(s.ordinal)) is not None
        ]
        last = batch[-1]
        end = last if isinstance(last, ShardEnd) else None
        commit = CommitBatch(
            cursor=last.cursor,
            labels=labels.encoded,
            skips=skips,
            rejects=rejects,
            finished=end is not None,
            note=end.damage if end else None,
        )
        with self._metrics.commit_seconds.time():
            renewed = self._queue.commit(lease, commit)
        crash_points.reach("labeler.after_commit")
        skipped = {reason: len(ordinals) for reason, ordinals in skips.items()}
        count_outcomes(self._role, labels.messages, skipped, rejects)
        return renewed

    def _wait_for_capacity(self, kept: KeptLease) -> bool:
        """Wait while too many labels are unacknowledged; false if told to stop meanwhile."""
        started = time.monotonic()
        idle_until = float("-inf")

        def waiting(_: Capacity) -> None:
            nonlocal idle_until
            self._metrics.waiting.set(1)
            self._role.watchdog.progress("waiting for capacity")
            kept.check()
            # Only labelers take relabel work, and the budget may be full of it: then nothing else would ever make room.
            # Not at each look: many labelers that wait would keep Redis busy with nothing else.
            if time.monotonic() >= idle_until and not self._relabeler.relabel():
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
