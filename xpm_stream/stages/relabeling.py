"""The labeler's second task: samples that the trainer sent back are labelled again by the newest teacher."""

from __future__ import annotations

from functools import partial

from xpm_stream import crash_points
from xpm_stream.errors import LeaseLost, SampleError
from xpm_stream.label_queue import LabelQueue, Reject, RelabelLease, RelabelReject, RelabelWork
from xpm_stream.records import SampleId
from xpm_stream.stages.annotator import Annotator
from xpm_stream.stages.label_counts import count_outcomes
from xpm_stream.stages.lease_keeper import KeptLease, LeaseKeeper
from xpm_stream.stages.patience import waits_s
from xpm_stream.stages.prepared_samples import SamplePreparer, Usable
from xpm_stream.stages.process import Role


class Relabeler:
    """Takes relabel work under a lease and commits what became of it."""

    def __init__(
        self, role: Role, *, queue: LabelQueue, annotator: Annotator, preparer: SamplePreparer, keeper: LeaseKeeper
    ) -> None:
        self._role = role
        self._config = role.config
        self._queue = queue
        self._annotator = annotator
        self._preparer = preparer
        self._keeper = keeper
        self._waits_s = waits_s(role.config.queue)

    def relabel(self) -> bool:
        """Label a batch again; false when there is none. It comes before new shards: the budget counts it already."""
        lease = self._queue.take_relabels(self._role.name, count=self._config.labeler.batch_images)
        if lease is None:
            return False
        crash_points.reach("labeler.after_relabel_lease")
        try:
            with self._keeper.keep(partial(self._queue.renew_relabels, lease), ttl_s=lease.ttl_s) as kept:
                self._relabel_leased(lease, kept)
        except LeaseLost as error:
            self._role.metrics.labeler.leases_lost.inc()
            self._role.log.warning("relabel lease lost: the batch is dropped", reason=str(error))
        return True

    def _relabel_leased(self, lease: RelabelLease, kept: KeptLease) -> None:
        usable: list[tuple[SampleId, Usable]] = []
        skips: dict[str, list[SampleId]] = {}
        rejects: list[RelabelReject] = []
        later: dict[SampleId, float] = {}
        for work in lease.work:
            kept.check()
            outcome = self._prepare(work)
            if isinstance(outcome, Usable):
                usable.append((work.sample, outcome))
            elif isinstance(outcome, str):
                skips.setdefault(outcome, []).append(work.sample)
            elif isinstance(outcome, Reject):
                rejects.append(RelabelReject(sample=work.sample, reject=outcome))
            else:
                later[work.sample] = outcome
        labels = self._annotator.annotate(usable, again=True)
        crash_points.reach("labeler.after_relabel_label")
        rejects += [RelabelReject(sample=one, reject=_reject(one, error)) for one, error in labels.refused.items()]
        self._queue.commit_relabels(lease, labels=labels.encoded, skips=skips, rejects=rejects, later=later)
        crash_points.reach("labeler.after_relabel_commit")
        self._role.metrics.labeler.samples_relabelled.inc(len(labels.messages))
        skipped = {reason: len(samples) for reason, samples in skips.items()}
        count_outcomes(self._role, labels.messages, skipped, [one.reject for one in rejects])

    def _prepare(self, work: RelabelWork) -> Usable | str | Reject | float:
        """Make a sample ready to be labelled again; else why to skip it, a reject, or seconds to put it off for."""
        most = self._config.queue.max_attempts
        if work.tried > most:
            detail = f"{most} labelers died while they labelled sample {work.sample} again, alone"
            return Reject(ordinal=work.sample.ordinal, reason="kills_labeler", detail=detail, attempts=most)
        self._role.watchdog.progress(f"preparing sample {work.sample} again")
        outcome = self._preparer.prepare_again(work)
        if isinstance(outcome, Usable | str):
            return outcome
        if isinstance(outcome, SampleError):
            return _reject(work.sample, outcome)
        self._role.metrics.count_error(outcome)
        if work.attempts < len(self._waits_s):
            self._role.log.warning("put off", sample=str(work.sample), reason=str(outcome), attempt=work.attempts + 1)
            return self._waits_s[work.attempts]
        reason = "shard_unavailable" if work.message is None else "image_unavailable"
        return Reject(ordinal=work.sample.ordinal, reason=reason, detail=str(outcome), attempts=most)


def _reject(sample: SampleId, error: SampleError) -> Reject:
    return Reject(ordinal=sample.ordinal, reason=error.reason, detail=str(error))
