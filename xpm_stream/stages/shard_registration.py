"""Shards put into the ledger: those named once, and those of watched patterns, looked at again and again."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Final, Self

import structlog

from xpm_stream.config import RunConfig
from xpm_stream.config.data_sections import DataConfig
from xpm_stream.data.shard_urls import ShardFile, count_in_stats, expand_shard_urls, is_complete
from xpm_stream.errors import QueueError, ShardError
from xpm_stream.label_queue import LabelQueue, ShardRecord, connect
from xpm_stream.stages.run_folder import RunFolder
from xpm_stream.stages.watchdog import Watchdog

_PARALLEL_READS: Final = 16


class ShardRegistration:
    """Adds shards to the ledger, once for each pass; adding again what is known changes nothing.

    Without `data.watch` the shards of `data.shards` are named by a person, once, and taken as they are; should Redis
    lose them, `name_again` adds the same ones again. With it, and
    for the patterns of `xpm-stream shards watch`, shards may come at any time: a thread looks every
    `data.watch_interval_s`, however busy the labeler is, and a shard is added only when its writer is done: its
    statistics are beside it, or it did not change between two looks.

    Example:
        >>> with ShardRegistration(config.data, queue=queue) as registration:   # the first look is over
        >>>     registration.check()                                            # now and then: is the thread well?
    """

    def __init__(self, config: DataConfig, *, queue: LabelQueue, watchdog: Watchdog | None = None) -> None:
        self._config = config
        self._watchdog = watchdog  # ends the labeler if a store leaves a look without an answer
        self._queue = queue
        self._named: list[ShardFile] | None = None  # the shards a person named; none: not looked at yet
        self._most_seen = 0  # shards in the ledger
        self._earlier: dict[str, ShardFile] = {}  # what the last look at watched patterns saw, by URL
        self._waiting = False  # whether it saw shards that may not be complete
        self._ended = threading.Event()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="shard registration")
        self._looking: Future[None] | None = None
        self._log = structlog.get_logger()

    def __enter__(self) -> Self:
        """Look once, here, so that a mistake in the configuration ends the labeler.

        Raises:
            ShardError: a named shard is missing.
        """
        self.look()
        self._looking = self._pool.submit(self._look_again_and_again)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._pool.shutdown()

    def check(self) -> None:
        """Raise what ended the looking, if anything did."""
        if self._looking is not None and self._looking.done():
            self._looking.result()

    @property
    def next_look_in_s(self) -> float:
        """A shard without statistics needs two looks: the second follows sooner, so that both fit in two intervals."""
        return self._config.watch_interval_s / (2 if self._waiting else 1)

    def look(self) -> int:
        """Look for shards; return how many are new.

        Raises:
            ShardError: a named shard is missing (a watched one may yet come: that is logged).
        """
        added = 0
        if self._named is None:
            self._named = [] if self._config.watch else expand_shard_urls(self._config.shards)
            added += self._add(self._named)
        return added + self._add(self._complete())

    def name_again(self, shards: int) -> int:
        """Add the named shards again if the ledger, which now has so many `shards`, lost some; return how many were.

        Rows are never deleted, so fewer of them than before are those of a Redis that was emptied, or restored from an
        older copy. Patterns of `data.watch` need no more than their next look.
        """
        lost = shards < self._most_seen
        self._most_seen = shards
        if not lost:
            return 0
        self._log.warning("Redis lost shards: those of the configuration are named again", left=shards)
        return self._add(self._named or [])

    def _look_again_and_again(self) -> None:
        while not self._ended.wait(self.next_look_in_s):
            if self._watchdog:
                self._watchdog.watch("looking for shards")
            try:
                self.look()
            except QueueError as error:  # the labeler meets it too, and ends if it lasts
                self._log.warning("cannot look for shards", reason=str(error))
            finally:
                if self._watchdog:
                    self._watchdog.pause()

    def _complete(self) -> list[ShardFile]:
        files = self._watched_files()
        complete = [file for file in files if is_complete(file, earlier=self._earlier.get(file.url))]
        self._earlier = {file.url: file for file in files}
        self._waiting = len(complete) < len(files)
        return complete

    def _watched_files(self) -> list[ShardFile]:
        configured = self._config.shards if self._config.watch else ()
        found: dict[str, ShardFile] = {}
        for pattern in (*configured, *self._queue.watched()):
            if self._ended.is_set():  # a listing may take long, and nobody waits for it now
                break
            if self._watchdog:
                self._watchdog.progress(f"looking for shards: {pattern}")
            try:
                files = expand_shard_urls([pattern], may_be_missing=True)
            except ShardError as error:  # its store may answer next time
                self._log.warning("cannot look at a watched pattern", pattern=pattern, reason=str(error))
                continue
            for file in files:
                found.setdefault(file.url, file)
        return list(found.values())

    def _add(self, files: Sequence[ShardFile]) -> int:
        records = records_of(files, passes=self._config.passes)
        added = add_new(self._queue, records, files)
        self._most_seen = max(self._most_seen, len(records))
        if added:
            self._log.info("shards added", added=added, known=len(files), passes=self._config.passes)
        return added


def add_shards(config: RunConfig, patterns: Sequence[str], *, pass_index: int = 0) -> tuple[int, int]:
    """Add shards to a run's ledger as they are; return how many are new, and how many were named.

    Raises:
        ShardError: a named shard is missing.
    """
    files = expand_shard_urls(patterns)
    with connect(config.redis, config.queue, run_folder=RunFolder.of(config).root) as queue:
        return add_new(queue, [record_of(file, pass_index=pass_index) for file in files], files), len(files)


def record_of(file: ShardFile, *, pass_index: int) -> ShardRecord:
    """Return a shard as the ledger knows it."""
    return ShardRecord(url=file.url, shard_id=file.shard_id, size_bytes=file.size_bytes, pass_index=pass_index)


def records_of(files: Sequence[ShardFile], *, passes: int) -> list[ShardRecord]:
    """Return shards as the ledger knows them, pass by pass."""
    return [record_of(file, pass_index=index) for index in range(passes) for file in files]


def add_new(queue: LabelQueue, records: Sequence[ShardRecord], files: Sequence[ShardFile]) -> int:
    """Add those records the ledger does not know, with the number of samples their writers counted; return how many."""
    unknown = queue.unknown_shards(records)
    if not unknown:
        return 0
    ids = {record.shard_id for record in unknown}
    new = [file for file in files if file.has_stats and file.shard_id in ids]
    with ThreadPoolExecutor(_PARALLEL_READS) as pool:
        counts = dict(zip((file.shard_id for file in new), pool.map(_count, new), strict=True))
    return queue.add_shards(
        ShardRecord(
            url=record.url,
            shard_id=record.shard_id,
            size_bytes=record.size_bytes,
            pass_index=record.pass_index,
            expected_samples=counts.get(record.shard_id),
        )
        for record in unknown
    )


def _count(file: ShardFile) -> int | None:
    try:
        return count_in_stats(file)
    except ShardError as error:  # the shard itself may be whole
        structlog.get_logger().warning("a shard's end will not be checked", url=file.url, reason=str(error))
        return None
