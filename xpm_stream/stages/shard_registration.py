"""Shards that the configuration names, put into the ledger: at the start, and again and again when watching."""

from __future__ import annotations

import time
from collections.abc import Sequence

import structlog

from xpm_stream.config import RunConfig
from xpm_stream.config.schema import DataConfig, QueueConfig
from xpm_stream.data.shard_urls import ShardFile, expand_shard_urls, is_complete
from xpm_stream.errors import ShardError
from xpm_stream.label_queue import LabelQueue, QueueStats, ShardRecord, connect
from xpm_stream.stages.run_folder import RunFolder


def corpus_finished(config: DataConfig, stats: QueueStats) -> bool:
    """Whether nothing is left that could come: every shard of a corpus that does not grow is done and drained.

    Before a labeler has added the first shard nothing is finished, only not begun.
    """
    begun = stats.shards_finished + stats.shards_failed > 0
    return begun and stats.drained and not config.watch


def only_acknowledging_helps(config: QueueConfig, stats: QueueStats) -> bool:
    """Whether no further label comes before the trainer acknowledges what it holds: it has all, or the budget is spent.

    A trainer that merely is faster than its labelers waits, rather than write a checkpoint for every few labels.
    """
    undelivered = stats.unacked_labels - stats.delivered_labels
    if not (undelivered or stats.relabels or stats.shards_pending or stats.shards_leased):
        return True
    labels, size_bytes = stats.unacked_labels + stats.relabels, stats.unacked_bytes + stats.relabel_bytes
    return labels >= config.max_unacked_labels or size_bytes >= config.max_unacked_mb * 2**20


class ShardRegistration:
    """Adds the shards of `data.shards`, once for each pass; adding again what is known changes nothing.

    Without `data.watch` the shards are named by a person, once, and taken as they are. With it the patterns are looked
    at again and again, and a shard is added only when its writer is done: its statistics are beside it, or it did not
    change between two looks.
    """

    def __init__(self, config: DataConfig, *, queue: LabelQueue) -> None:
        self._config = config
        self._queue = queue
        self._looked_at: float | None = None
        self._earlier: dict[str, ShardFile] = {}
        self._log = structlog.get_logger()

    def look(self) -> int:
        """Look for shards if it is time to; return how many are new.

        Raises:
            ShardError: a named shard is missing (when watching, it may come: that is logged).
        """
        if not self._is_time():
            return 0
        try:
            files = expand_shard_urls(self._config.shards)
        except ShardError as error:
            if not self._config.watch:
                raise
            self._log.warning("no shards yet", reason=str(error))
            return 0
        complete = [f for f in files if not self._config.watch or is_complete(f, earlier=self._earlier.get(f.url))]
        self._earlier = {f.url: f for f in files}
        added = sum(self._queue.add_shards(_records(complete, index)) for index in range(self._config.passes))
        if added:
            self._log.info("shards added", added=added, known=len(files), passes=self._config.passes)
        return added

    def _is_time(self) -> bool:
        now = time.monotonic()
        if self._looked_at is not None:
            due = now - self._looked_at >= self._config.watch_interval_s
            if not (self._config.watch and due):
                return False
        self._looked_at = now
        return True


def _records(files: Sequence[ShardFile], pass_index: int) -> list[ShardRecord]:
    return [ShardRecord(url=f.url, shard_id=f.shard_id, size_bytes=f.size_bytes, pass_index=pass_index) for f in files]


def add_shards(config: RunConfig, patterns: Sequence[str], *, pass_index: int = 0) -> tuple[int, int]:
    """Add shards to a run's ledger; return how many are new, and how many were named.

    Raises:
        ShardError: a named shard is missing.
    """
    files = expand_shard_urls(patterns)
    with connect(config.redis, config.queue, run_folder=RunFolder.of(config).root) as queue:
        return queue.add_shards(_records(files, pass_index)), len(files)
