"""What people do with the shards of a run: look at them, retry, stream again, watch for new ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from xpm_stream.config import RunConfig
from xpm_stream.data.shard_urls import absolute_pattern, expand_braces, expand_shard_urls, look_at_shard
from xpm_stream.errors import ShardError
from xpm_stream.label_queue import LabelQueue, ShardRecord, ShardRow, ShardState
from xpm_stream.records import ShardId
from xpm_stream.stages.operating import open_queue_of

_PARALLEL_LOOKUPS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Rows of the shard ledger, in the order of adding."""

    rows: list[ShardRow]
    now_s: float  # Unix time by Redis' clock, by which leases end


@dataclass(frozen=True, slots=True, kw_only=True)
class FurtherPass:
    """What became of shards that should be streamed again."""

    added: int
    known: int  # are in that pass already
    unfinished: int  # their last pass is not finished
    changed: tuple[str, ...]  # what keeps the others from being the shards they were: rewritten, or missing


def shard_matcher(pattern: str) -> Callable[[ShardRow], bool]:
    """Return what tells whether a row is meant: by URL, path or its last parts (globs, braces, folders), or by id.

    Raises:
        ShardError: its braces do not match.
    """
    forms = []
    for form in expand_braces(pattern):
        forms += [form, f"*/{form}", f"{form.rstrip('/')}/*", f"*/{form.rstrip('/')}/*"]

    def matches(row: ShardRow) -> bool:
        if pattern in (row.url, row.key, row.shard_id):
            return True
        return any(fnmatchcase(row.url, form) for form in forms)

    return matches


def look_at_ledger(config: RunConfig, patterns: Sequence[str] = (), *, state: ShardState | None = None) -> Ledger:
    """Return the rows of a run's shards: all, or those that patterns name, in one state if asked for.

    Raises:
        ShardError: a pattern matches no shard of the run.
    """
    with open_queue_of(config) as queue:
        rows = [row for row in _rows(queue, patterns) if state in (None, row.state)]
        return Ledger(rows=rows, now_s=queue.redis_time_s())


def retry_shards(config: RunConfig, patterns: Sequence[str] = ()) -> int:
    """Put failed shards, all or those that patterns name, back in the order; return how many.

    Raises:
        ShardError: a pattern matches no shard of the run.
    """
    with open_queue_of(config) as queue:
        failed = [row.key for row in _rows(queue, patterns) if row.state == "failed"]
        return queue.retry_shards(failed) if failed else 0


def stream_again(config: RunConfig, patterns: Sequence[str] = (), *, pass_index: int | None = None) -> FurtherPass:
    """Add a further pass over shards: all, or those that patterns name. It is accounted on its own.

    Args:
        config: the run.
        patterns: which shards; none: all.
        pass_index: which pass; none: the one behind each shard's last, where that is finished. So a repeat of the
            command adds nothing before the pass it added is done.

    Raises:
        ShardError: a pattern matches no shard of the run, or the run has no shards.
    """
    with open_queue_of(config) as queue:
        everything = _rows(queue, ())
        if not everything:
            raise ShardError("this run has no shards yet: add some with `xpm-stream shards add`")
        last: dict[ShardId, ShardRow] = {}
        for row in everything:
            if row.shard_id not in last or last[row.shard_id].pass_index < row.pass_index:
                last[row.shard_id] = row
        meant = [last[shard_id] for shard_id in dict.fromkeys(row.shard_id for row in _matching(everything, patterns))]
        chosen = [row for row in meant if pass_index is not None or row.state == "finished"]
        same, changed = _unchanged(chosen)
        added = queue.add_shards(
            ShardRecord(
                url=row.url,
                shard_id=row.shard_id,
                size_bytes=row.size_bytes,
                pass_index=row.pass_index + 1 if pass_index is None else pass_index,
                expected_samples=row.expected_samples,
            )
            for row in same
        )
        unfinished = len(meant) - len(chosen)
        return FurtherPass(added=added, known=len(same) - added, unfinished=unfinished, changed=tuple(changed))


def watch(config: RunConfig, patterns: Sequence[str]) -> dict[str, bool]:
    """Have the labelers look at patterns from now on; return each as it is kept, and whether that is new.

    Raises:
        ShardError: a pattern cannot be looked at. That nothing matches it yet is no error.
    """
    expand_shard_urls(patterns, may_be_missing=True)
    with open_queue_of(config) as queue:
        return {pattern: queue.watch(pattern) for pattern in map(absolute_pattern, patterns)}


def stop_watching(config: RunConfig, patterns: Sequence[str]) -> None:
    """End the watching of patterns; shards already added stay.

    Raises:
        ShardError: one of them is not watched; then all stay watched.
    """
    with open_queue_of(config) as queue:
        there = queue.watched()
        kept = [pattern if pattern in there else absolute_pattern(pattern) for pattern in patterns]
        for pattern in kept:
            if pattern not in there:
                known = ", ".join(there) or "nothing"
                raise ShardError(f"{pattern} is not watched; watched is: {known}")
        for pattern in kept:
            queue.unwatch(pattern)


def watched_patterns(config: RunConfig) -> dict[str, float]:
    """Return what `watch` put there, with the Unix time since when."""
    with open_queue_of(config) as queue:
        return queue.watched()


def _rows(queue: LabelQueue, patterns: Sequence[str]) -> list[ShardRow]:
    return _matching(sorted(queue.shard_rows(), key=lambda row: row.order), patterns)


def _matching(rows: list[ShardRow], patterns: Sequence[str]) -> list[ShardRow]:
    if not patterns:
        return rows
    keys: set[str] = set()
    for pattern in patterns:
        matches = shard_matcher(pattern)
        found = [row.key for row in rows if matches(row)]
        if not found:
            raise ShardError(f"no shard of this run matches {pattern!r}: see `xpm-stream shards list`")
        keys.update(found)
    return [row for row in rows if row.key in keys]


def _unchanged(rows: Iterable[ShardRow]) -> tuple[list[ShardRow], list[str]]:
    """Tell the shards that still are what they were from those that are not, with the reason."""
    same, changed = [], []
    with ThreadPoolExecutor(_PARALLEL_LOOKUPS) as pool:
        for row, problem in pool.map(_compare, rows):
            if problem is None:
                same.append(row)
            else:
                changed.append(problem)
    return same, changed


def _compare(row: ShardRow) -> tuple[ShardRow, str | None]:
    try:
        now = look_at_shard(row.url)
    except ShardError as error:
        return row, str(error)
    if now.shard_id != row.shard_id:
        return row, f"shard {row.url} has been rewritten: it is a new one, for `xpm-stream shards add`"
    return row, None
