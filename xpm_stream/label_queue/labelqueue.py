"""The label queue: everything a role may ask of Redis, in one object. See `docs/delivery.md` for the protocol."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from xpm_stream.label_queue.dead_letters import DeadLetterDesk
from xpm_stream.label_queue.embedded import EmbeddedServer
from xpm_stream.label_queue.finishing import Finishing
from xpm_stream.label_queue.labeler_side import LabelerSide
from xpm_stream.label_queue.relabeling import Relabeling
from xpm_stream.label_queue.settling import Settling
from xpm_stream.label_queue.watching import WatchedPatterns
from xpm_stream.label_queue.watching_labels import LabelLooking


class LabelQueue(LabelerSide, Relabeling, Settling, Finishing, DeadLetterDesk, WatchedPatterns, LabelLooking):
    """One namespace of one Redis. Threads may share it; processes open their own with `connect`.

    Labelers: add_shards, acquire, renew, release, fail_shard, try_sample, commit, capacity, wait_for_capacity,
    take_relabels, commit_relabels. Trainer: raise_epoch, join_epoch, settle, read, acknowledge, give_back, fail,
    dead_letter, try_alone, end_trial, finish.
    Drift monitor: look (through a LabelWatcher), stats.
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
