"""Where every sample of a run went: the audit of queue and checkpoint together."""

from __future__ import annotations

from dataclasses import dataclass

from xpm_stream.config import RunConfig
from xpm_stream.errors import CheckpointError
from xpm_stream.label_queue import AuditReport, QueueStats, TrainedLedger, connect
from xpm_stream.monitoring.summary import SampleCounts
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.stages.run_folder import RunFolder
from xpm_stream.stages.training_state import TRAINING, TrainingState, decode_training_state


@dataclass(frozen=True, slots=True)
class RunAccount:
    """A run's samples, by where they are."""

    audit: AuditReport
    stats: QueueStats
    training: TrainingState  # of the last durable checkpoint

    def counts(self) -> SampleCounts:
        """Return the sums for summary.json."""
        totals = self.audit.totals()
        skipped: dict[str, int] = {}
        for row in self.audit.rows:
            for reason, number in row.skipped_by_reason.items():
                skipped[reason] = skipped.get(reason, 0) + number
        labelled = totals["samples"] - totals["skipped"] - totals["dead"]
        return SampleCounts(
            read=totals["samples"],
            labelled=labelled,
            trained=totals["trained"],
            skipped=skipped,
            queued=totals["queued"] + totals["relabels"],
            dead=totals["dead"],
            relabelled=self.training.samples_relabelled,
            replayed=self.training.samples_replayed,
        )


def account_of(config: RunConfig) -> RunAccount:
    """Audit a run from Redis and its last durable checkpoint; an embedded Redis that is down is started for it.

    Raises:
        QueueError: Redis cannot be reached.
        CheckpointError: the checkpoint cannot be read.
    """
    training = TrainingState()

    def ledger() -> TrainedLedger:
        nonlocal training
        training, trained = last_training_state(config)
        return trained

    with connect(config.redis, config.queue, run_folder=RunFolder.of(config).root) as queue:
        # The ledger is read after the queue was looked at: what a trainer acknowledges in between is in it.
        return RunAccount(queue.audit(ledger), queue.stats(), training)


def last_training_state(config: RunConfig) -> tuple[TrainingState, TrainedLedger]:
    """Return the state of the trainer's last durable checkpoint; an empty one before the first.

    Raises:
        CheckpointError: the checkpoint cannot be read.
    """
    store = CheckpointStore(f"{RunFolder.of(config).registry_url(config)}/resume")
    latest = store.latest()
    while latest is not None:
        try:
            return decode_training_state(store.read(latest.name, only=(TRAINING,)), name=latest.name)
        except CheckpointError:
            newer = store.latest()
            if newer is None or newer.name == latest.name:
                raise
            latest = newer  # a trainer at work has pruned the one that was the last
    return TrainingState(), TrainedLedger()
