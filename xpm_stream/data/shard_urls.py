"""From patterns to shards: brace ranges, globs and folders on any fsspec URL; what a shard is, and if it is whole."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Any, Final

import msgspec
from braceexpand import braceexpand
from fsspec import AbstractFileSystem

from xpm_stream.data.storage import (
    MAX_TEXT_FILE_BYTES,
    explain,
    is_gone,
    locate,
    read_bytes,
    transport_errors,
)
from xpm_stream.data.tar_stream import COMPRESSIONS
from xpm_stream.errors import DataError, ShardError, ShardUnavailable
from xpm_stream.records import ShardId

# What stores call the time of the last change, and what changes when a file is rewritten, most telling first.
_TIME_FIELDS: Final = ("mtime", "LastModified", "last_modified", "updated", "created")
_VERSION_FIELDS: Final = ("ETag", "etag", "md5Hash", "content_md5", "generation", "version", *_TIME_FIELDS)
_PARALLEL_LOOKUPS: Final = 16
MAX_EXPANDED: Final = 1_000_000  # shards that one pattern may name
_GROUP: Final = re.compile(r"\{[^{}]*\}")
_RANGE: Final = re.compile(r"\{(-?\d{1,18})\.\.(-?\d{1,18})(?:\.\.(-?\d{1,18}))?\}")


class ShardFile(msgspec.Struct, frozen=True, kw_only=True):
    """A shard as it was when it was looked at."""

    url: str  # absolute, with its protocol
    size_bytes: int | None  # none: the store does not say
    version: str | None  # ETag or time of change, as the store gives it
    has_stats: bool  # img2dataset's `<shard>_stats.json` is beside it
    is_newer_than_stats: bool = False  # by the store's times: these statistics may be those of what it was before

    @property
    def shard_id(self) -> ShardId:
        """Hash of URL, size and version: a rewritten shard is another shard."""
        return _identity(self.url, self.size_bytes, self.version)

    def is_shard(self, shard_id: ShardId) -> bool:
        """Tell whether this is the shard that was given this identity, perhaps by a listing that told less of it."""
        return any(
            shard_id == _identity(self.url, size_bytes, version)
            for size_bytes in (self.size_bytes, None)
            for version in (self.version, None)
        )


def _identity(url: str, size_bytes: int | None, version: str | None) -> ShardId:
    facts = f"{url}\0{size_bytes}\0{version}"
    return ShardId(hashlib.blake2b(facts.encode("utf-8"), digest_size=8).hexdigest())


def expand_shard_urls(patterns: Iterable[str], *, may_be_missing: bool = False) -> list[ShardFile]:
    """Find the shards that patterns name: each an fsspec URL or path with brace ranges, a glob, or a folder.

    Of a glob or folder, files named like tars are taken, sorted by name; else the order is that of the patterns. A
    shard named twice is there once. Every call looks at the store anew.

    Args:
        patterns: what to look for.
        may_be_missing: shards that are not there (yet) are no error.

    Raises:
        ShardError: a named shard or folder is missing, a glob finds no shard, braces do not match, a URL would run a
            command, or a store cannot be listed.
    """
    found: dict[str, ShardFile] = {}
    for pattern in patterns:
        for shard in _expand(pattern, may_be_missing=may_be_missing):
            found.setdefault(shard.url, shard)
    return list(found.values())


def expand_braces(pattern: str) -> list[str]:
    """Write the brace ranges of a pattern out.

    Raises:
        ShardError: its braces do not match, or it names more than MAX_EXPANDED shards.
    """
    expanded: list[str] = []
    try:
        if not _is_endless(pattern):
            expanded = list(itertools.islice(braceexpand(pattern), MAX_EXPANDED + 1))
    except ValueError as error:
        raise ShardError(f"shard pattern {pattern!r}: {error}") from error
    if not 0 < len(expanded) <= MAX_EXPANDED:
        raise ShardError(f"shard pattern {pattern!r} names more than {MAX_EXPANDED:,} shards: use several patterns")
    return expanded


def _is_endless(pattern: str) -> bool:
    """Whether writing a pattern out would take minutes, or one range of it, which is written out first, all memory."""
    choices = 1
    for group in _GROUP.findall(pattern):
        found = _RANGE.fullmatch(group)
        if found:
            first, last, step = (int(number or 1) for number in found.groups())
            size = abs(last - first) // max(1, abs(step)) + 1
        else:
            size = group.count(",") + 1
        choices *= size
        if size > MAX_EXPANDED or choices > 100 * MAX_EXPANDED:
            return True
    return False


def absolute_pattern(pattern: str) -> str:
    """Return a pattern that means the same in every working folder: paths are made absolute, URLs are left."""
    return pattern if "://" in pattern or "::" in pattern else os.path.abspath(os.path.expanduser(pattern))  # noqa: PTH100, PTH111


def look_at_shard(url: str) -> ShardFile:
    """Look at one shard again, to see whether it is still the one it was.

    Raises:
        ShardError: it is missing.
        ShardUnavailable: its store does not answer now.
    """
    return _expand_named([url], may_be_missing=False)[0]


def is_complete(shard: ShardFile, *, earlier: ShardFile | None) -> bool:
    """Tell whether a shard's writer is done: its statistics are there, or it did not change since an earlier look.

    Statistics older than the shard say nothing: while a shard is rewritten, the old ones are still beside it.
    """
    if shard.has_stats and not shard.is_newer_than_stats:
        return True
    return earlier is not None and shard.size_bytes is not None and earlier.shard_id == shard.shard_id


def count_in_stats(shard: ShardFile) -> int | None:
    """Return how many samples the shard's `_stats.json` says it holds; none without one.

    Raises:
        ShardError: the statistics are there but cannot be read.
    """
    if not shard.has_stats:
        return None
    url = _stats_path(shard.url)
    content = read_bytes(url, what="statistics", max_bytes=MAX_TEXT_FILE_BYTES, error_class=ShardError)
    try:
        count = int(json.loads(content)["successes"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ShardError(f"{url} is not img2dataset's statistics: no number 'successes'") from error
    return count


def _expand(pattern: str, *, may_be_missing: bool) -> list[ShardFile]:
    urls = expand_braces(pattern)
    globs = [url for url in urls if any(character in url for character in "*?[")]
    named = [url for url in urls if url not in set(globs)]
    shards = _expand_named(named, may_be_missing=may_be_missing) if named else []
    for url in globs:
        shards.extend(_expand_glob(url, may_be_missing=may_be_missing))
    return shards


def _expand_named(urls: Sequence[str], *, may_be_missing: bool) -> list[ShardFile]:
    filesystem, _ = _locate(urls[0])
    filesystem.invalidate_cache()
    with ThreadPoolExecutor(_PARALLEL_LOOKUPS) as pool:
        looks = pool.map(partial(_look, may_be_missing=may_be_missing), urls)
        return [shard for shards in looks for shard in shards]


def _look(url: str, *, may_be_missing: bool) -> list[ShardFile]:
    filesystem, path = _locate(url)
    try:
        info = filesystem.info(path)
        if info["type"] == "directory":
            return _expand_glob(f"{url.rstrip('/')}/*", may_be_missing=may_be_missing)
        stats = _look_at_stats(filesystem, path) if _has_tar_name(path) else None
    except transport_errors() as error:
        if not is_gone(error):
            raise ShardUnavailable(f"cannot look at shard {url}: {explain(error)}") from error
        if may_be_missing:
            return []
        raise ShardError(f"shard {url} does not exist") from error
    if not _has_tar_name(path):
        raise ShardError(f"{url} is not named like a tar; shards end in {', '.join(COMPRESSIONS)}")
    # A chained URL (simplecache::s3://...) cannot be told from its path, so it stays as it was given.
    return [_shard_file(url if "::" in url else str(filesystem.unstrip_protocol(path)), info, stats)]


def _look_at_stats(filesystem: AbstractFileSystem, path: str) -> dict[str, Any] | None:
    """What the store says of the statistics beside a shard; none: there are none."""
    if not filesystem.exists(_stats_path(path)):
        return None
    try:
        return dict(filesystem.info(_stats_path(path)))
    except FileNotFoundError:  # some web servers give a file, but tell nothing of it
        return {}


def _expand_glob(url: str, *, may_be_missing: bool) -> list[ShardFile]:
    if "::" in url:
        raise ShardError(f"{url}: globs and folders of chained URLs cannot be listed; name the shards, by brace ranges")
    filesystem, path = _locate(url)
    filesystem.invalidate_cache()
    try:
        infos: dict[str, Any] = filesystem.glob(path, detail=True)
        shards = {name: info for name, info in infos.items() if info["type"] == "file" and _has_tar_name(name)}
        if not shards:
            if may_be_missing:
                return []
            raise ShardError(
                f"no shard matches {url} ({len(infos)} other files do; shards end in {', '.join(COMPRESSIONS)})"
            )
        stats = _list_stats(filesystem, {name.rpartition("/")[0] for name in shards})
    except transport_errors() as error:
        raise ShardUnavailable(f"cannot list shards {url}: {explain(error)}") from error
    return [
        _shard_file(str(filesystem.unstrip_protocol(name)), info, stats.get(_stats_path(name)))
        for name, info in sorted(shards.items())
    ]


def _list_stats(filesystem: AbstractFileSystem, folders: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What the store says of each statistics file, by its path."""
    found: dict[str, dict[str, Any]] = {}
    for folder in folders:
        found.update(filesystem.glob(f"{folder}/*_stats.json", detail=True))
    return found


def _locate(url: str) -> tuple[AbstractFileSystem, str]:
    try:
        return locate(url)
    except DataError as error:
        raise ShardError(str(error)) from error


def _changed_s(info: dict[str, Any]) -> float | None:
    """When a file was last changed; none where the store tells no time that can be compared."""
    told = next((info[name] for name in _TIME_FIELDS if info.get(name) is not None), None)
    if isinstance(told, str):
        try:
            told = datetime.fromisoformat(told)
        except ValueError:
            return None
    if isinstance(told, datetime):
        return told.timestamp()
    return float(told) if isinstance(told, int | float) else None


def _shard_file(url: str, info: dict[str, Any], stats: dict[str, Any] | None) -> ShardFile:
    changed_s, stats_changed_s = _changed_s(info), _changed_s(stats or {})
    version = next((info[name] for name in _VERSION_FIELDS if info.get(name) is not None), None)
    # The same store may give a time as a date in a look and as seconds in a listing.
    if isinstance(version, datetime):
        version = version.timestamp()
    if isinstance(version, float):
        version = f"{version:.6f}"
    return ShardFile(
        url=url,
        size_bytes=info.get("size"),
        version=None if version is None else str(version).strip('"'),
        has_stats=stats is not None,
        is_newer_than_stats=changed_s is not None and stats_changed_s is not None and changed_s > stats_changed_s,
    )


def _has_tar_name(path: str) -> bool:
    return path.split("?", 1)[0].lower().endswith(tuple(COMPRESSIONS))


def _stats_path(path: str) -> str:
    ending = next(ending for ending in COMPRESSIONS if path.split("?", 1)[0].lower().endswith(ending))
    stem, _, query = path.partition("?")
    return f"{stem[: -len(ending)]}_stats.json" + (f"?{query}" if query else "")
