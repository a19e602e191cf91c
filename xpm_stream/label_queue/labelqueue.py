"""The label queue: everything a role may ask of Redis, in one object. See `docs/delivery.md` for the protocol."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from xpm_stream.errors import QueueRefused
from xpm_stream.label_queue.audit import missing_ordinals
from xpm_stream.label_queue.dead_letters import DeadLetterDesk
from xpm_stream.label_queue.deliveries import Settlement
from xpm_stream.label_queue.embedded import EmbeddedServer
from xpm_stream.label_queue.inspection import Inspection
from xpm_stream.label_queue.labeler_side import LabelerSide
from xpm_stream.label_queue.relabeling import Relabeling
from xpm_stream.label_queue.trained import TrainedLedger
from xpm_stream.label_queue.trainer_side import TrainerSide
from xpm_stream.label_queue.watching import WatchedPatterns
from xpm_stream.records import SampleId

_SAMPLES_AT_ONCE = 500


class LabelQueue(LabelerSide, Relabeling, TrainerSide, DeadLetterDesk, WatchedPatterns, Inspection):
    """One namespace of one Redis. Threads may share it; processes open their own with `connect`.

    Labelers: add_shards, acquire, renew, release, fail_shard, commit, capacity, wait_for_capacity, take_relabels,
    commit_relabels. Trainer: raise_epoch, join_epoch, settle, read, acknowledge, give_back, fail, dead_letter.
    Operators: stats, shard_rows, audit, retry_shards, watch, unwatch, dead_letters, show_dead_letter, replay, purge.

    Every method that reaches Redis raises QueueUnavailable when Redis stayed away for `redis.retry_for_s`, and
    QueueRefused when it answers but refuses.

    Example:
        >>> queue = connect(config.redis, config.queue, run_folder=folder)   # a labeler
        >>> lease = queue.acquire("labeler-0")
        >>> lease = queue.commit(lease, CommitBatch(cursor=Cursor(8, 40960), labels=labels, skips={"no_nouns": [3]}))

        >>> epoch = queue.raise_epoch(at_least=checkpoint.epoch)              # a trainer, rank 0
        >>> queue.settle(checkpoint.trained)
        >>> deliveries = queue.read("rank0", count=8, block_ms=500)
        >>> queue.acknowledge(deliveries)                                     # after the checkpoint is durable
    """

    server: EmbeddedServer | None = None  # the embedded server this process started or joined

    def settle(self, trained: TrainedLedger, *, max_returned: int = 1_000_000) -> Settlement:
        """Brings Redis in line with the checkpoint a trainer starts from. Rank 0 calls it after `raise_epoch`.

        Labels the checkpoint has trained are acknowledged, delivered or not (Redis is older than the checkpoint).
        Committed samples that are neither trained, queued, skipped nor dead become relabel work (the checkpoint is
        older than what was acknowledged, so they are not lost with the newer one).

        Raises:
            EpochFenced: a newer trainer has started.
            QueueRefused: more than `max_returned` samples would become relabel work (each costs Redis about 300 bytes).
        """
        snapshot = self._snapshot()
        done = [
            (entry.entry_id, entry.size_bytes)
            for entry in snapshot.entries
            if entry.sample is not None and entry.sample in trained
        ]
        lost: list[SampleId] = []
        for place in self._places(snapshot):
            record = place.row.record
            missing = missing_ordinals(place, trained.ordinals(record.pass_index, record.shard_id))
            if len(lost) + len(missing) > max_returned:
                raise QueueRefused(
                    f"the checkpoint lacks more than {max_returned} samples that namespace `{self.keys.namespace}` "
                    "counts as trained: start from the checkpoint they are in, or begin a new redis.namespace"
                )
            lost += map(record.sample, missing)
        acknowledged = self._acknowledge_entries(done)
        acknowledged += self._drop_relabels([sample for sample in snapshot.relabels if sample in trained])
        return Settlement(acknowledged=acknowledged, returned=self._requeue(lost))

    def _drop_relabels(self, samples: list[SampleId]) -> int:
        keys = self.keys
        return self._for_samples(
            "drop_relabels",
            samples,
            keys=[keys.meta, keys.counters, keys.relabels, keys.relabel_queue, keys.relabel_leases],
            doing="dropping trained relabel work",
        )

    def _requeue(self, samples: list[SampleId]) -> int:
        keys = self.keys
        return self._for_samples(
            "requeue",
            samples,
            keys=[keys.meta, keys.counters, keys.relabels, keys.relabel_queue],
            doing="returning samples to the labelers",
        )

    def _for_samples(self, script: str, samples: list[SampleId], *, keys: list[str], doing: str) -> int:
        changed = 0
        for first in range(0, len(samples), _SAMPLES_AT_ONCE):
            names = [str(sample) for sample in samples[first : first + _SAMPLES_AT_ONCE]]
            arguments = {**self._fence(), "samples": names, "reason": "not_in_checkpoint"}
            changed += int(self.edge.run(script, keys=keys, arguments=arguments, doing=doing))
        return changed

    def close(self) -> None:
        """Closes the connections, and stops the embedded server if this process owns it."""
        self.edge.close()
        if self.server is not None:
            self.server.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
