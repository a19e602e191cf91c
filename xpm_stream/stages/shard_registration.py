"""Shards that the configuration names, put into the ledger: at the start, and again and again when watching."""

from __future__ import annotations

import time
from collections.abc import Sequence

import structlog

from xpm_stream.config import RunConfig
from xpm_stream.config.schema import DataConfig
from xpm_stream.data.shard_urls import expand_shard_urls
from xpm_stream.label_queue import LabelQueue, QueueStats, ShardRecord, connect
from xpm_stream.stages.run_folder import RunFolder


def corpus_finished(config: DataConfig, stats: QueueStats) -> bool:
    """Whether nothing is left that could come: every shard of a corpus that does not grow is done and drained.

    Before a labeler has added the first shard nothing is finished, only not begun.
    """
    begun = stats.shards_finished + stats.shards_failed > 0
    return begun and stats.drained and not config.watch


class ShardRegistration:
    """Adds the shards of `data.shards` once for each pass; adding again what is known changes nothing."""

    def __init__(self, config: DataConfig, *, queue: LabelQueue) -> None:
        self._config = config
        self._queue = queue
        self._looked_at: float | None = None

    def look(self) -> int:
        """Look for shards if it is time to; return how many are new.

        Raises:
            ShardError: a named shard is missing.
        """
        now = time.monotonic()
        looked = self._looked_at is not None
        if looked and not (self._config.watch and now - (self._looked_at or 0.0) >= self._config.watch_interval_s):
            return 0
        self._looked_at = now
        files = expand_shard_urls(self._config.shards)
        added = sum(
            self._queue.add_shards(
                ShardRecord(url=f.url, shard_id=f.shard_id, size_bytes=f.size_bytes, pass_index=index) for f in files
            )
            for index in range(self._config.passes)
        )
        if added:
            structlog.get_logger().info("shards added", added=added, known=len(files), passes=self._config.passes)
        return added


def add_shards(config: RunConfig, patterns: Sequence[str], *, pass_index: int = 0) -> tuple[int, int]:
    """Add shards to a run's ledger; return how many are new, and how many were named.

    Raises:
        ShardError: a named shard is missing.
    """
    files = expand_shard_urls(patterns)
    with connect(config.redis, config.queue, run_folder=RunFolder.of(config).root) as queue:
        records = [
            ShardRecord(url=f.url, shard_id=f.shard_id, size_bytes=f.size_bytes, pass_index=pass_index) for f in files
        ]
        return queue.add_shards(records), len(files)
