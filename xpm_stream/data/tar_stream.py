"""The bytes of a tar from any store, plain or compressed, read forward exactly; the store's errors told from damage."""

from __future__ import annotations

import contextlib
import lzma
import sys
import zlib
from collections.abc import Iterator
from typing import IO, Any, Final, Literal

from fsspec.compression import compr

from xpm_stream.data.storage import explain, is_gone, locate, reads_ranges, transport_errors
from xpm_stream.errors import DataError, ShardError, ShardUnavailable

READ_AHEAD: Final = 4 << 20  # bytes asked of a remote store at once

COMPRESSIONS: Final = {  # by the end of the shard's name; the values are fsspec's names
    ".tar": None,
    ".tar.gz": "gzip",
    ".tgz": "gzip",
    ".tar.bz2": "bz2",
    ".tbz2": "bz2",
    ".tar.xz": "xz",
    ".txz": "xz",
    ".tar.zst": "zstd",
    ".tzst": "zstd",
}

DamageReason = Literal[
    "not_a_tar", "truncated", "header_damaged", "compression_broken", "end_missing", "data_after_end"
]


class TarDamageError(ShardError):
    """A tar that cannot be read on; the store itself answered."""

    def __init__(self, message: str, *, reason: DamageReason) -> None:
        super().__init__(message)
        self.reason = reason


def compression_of(url: str) -> str | None:
    """Return fsspec's name of a shard's compression by the end of its name; none: a plain tar.

    Raises:
        ShardError: the name does not end like a tar's.
    """
    name = url.split("?", 1)[0].lower()
    for ending, compression in COMPRESSIONS.items():
        if name.endswith(ending):
            return compression
    raise ShardError(f"{url} is not named like a tar; shards end in {', '.join(COMPRESSIONS)}")


@contextlib.contextmanager
def open_tar(url: str) -> Iterator[TarStream]:
    """Open a shard as the bytes of its (uncompressed) tar.

    Raises:
        ShardError: the shard is missing or cannot be read, or its name or compression is unknown.
        ShardUnavailable: its store does not answer now.
    """
    compression = compression_of(url)
    if compression is not None and compression not in compr:
        raise ShardError(f"{url}: reading {compression} needs a package that is not installed (zstandard for .zst)")
    with contextlib.ExitStack() as stack:
        try:
            filesystem, path = locate(url)
            info = filesystem.info(path)
            can_seek = reads_ranges(filesystem, info)
            options = {"block_size": READ_AHEAD, "cache_type": "readahead"} if can_seek else {"block_size": 0}
            file = stack.enter_context(filesystem.open(path, "rb", **options))
        except DataError as error:
            raise ShardError(str(error)) from error
        except transport_errors() as error:
            failure = ShardError if is_gone(error) else ShardUnavailable
            raise failure(f"cannot open shard {url}: {explain(error)}") from error
        stored = _StoredFile(file, url)
        if compression is None:
            yield TarStream(stored, url, size=info.get("size"), can_seek=can_seek)
        else:
            plain = stack.enter_context(compr[compression](stored, mode="rb"))
            yield TarStream(plain, url, size=None, can_seek=False)


class TarStream:
    """Exact forward reads of the (uncompressed) tar."""

    def __init__(self, file: IO[bytes] | Any, url: str, *, size: int | None, can_seek: bool) -> None:
        self._file = file
        self.url = url
        self._size = size
        self.can_seek = can_seek
        self.position = 0

    def read_up_to(self, count: int) -> bytes:
        """Return `count` bytes, or fewer only at the end of the file."""
        parts: list[bytes] = []
        missing = count
        while missing:
            part = self._read(missing)
            if not part:
                break
            parts.append(part)
            missing -= len(part)
        self.position += count - missing
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read_exactly(self, count: int) -> bytes:
        """Return `count` bytes."""
        data = self.read_up_to(count)
        if len(data) < count:
            raise self._truncated()
        return data

    def skip_to(self, position: int) -> None:
        """Go forward to a byte offset."""
        if self.can_seek and self._size is not None:
            if position > self._size:
                raise self._truncated()
            self._file.seek(position)
            self.position = position
        while self.position < position:
            if not self.read_up_to(min(position - self.position, READ_AHEAD)):
                raise self._truncated()

    def _read(self, count: int) -> bytes:
        try:
            return bytes(self._file.read(count))
        except ShardError:
            raise
        except EOFError as error:
            raise self._truncated() from error
        except _decompression_errors() as error:
            message = f"{self.url} cannot be decompressed beyond byte {self.position} of its tar: {error}"
            raise TarDamageError(message, reason="compression_broken") from error

    def _truncated(self) -> TarDamageError:
        where = "" if self._size is None else f": it ends at byte {self._size}, inside a member"
        return TarDamageError(f"{self.url} is truncated{where}", reason="truncated")


class _StoredFile:
    """The stored bytes: the store's errors become ShardError here, so that what a decompressor raises is damage."""

    def __init__(self, file: IO[bytes], url: str) -> None:
        self._file = file
        self._url = url
        self._position = 0

    def read(self, count: int = -1) -> bytes:
        try:
            # The in-memory store shares one file object, and its position, between all who open it.
            if self._file.tell() != self._position:
                self._file.seek(self._position)
            data = self._file.read(count)
        except transport_errors() as error:
            failure = ShardError if is_gone(error) else ShardUnavailable
            raise failure(f"cannot read {self._url} at byte {self._position}: {explain(error)}") from error
        self._position += len(data)
        return data

    def seek(self, position: int) -> int:
        self._position = position
        return position


def _decompression_errors() -> tuple[type[Exception], ...]:
    modules = (sys.modules.get(name) for name in ("zstandard", "compression.zstd"))
    return (OSError, zlib.error, lzma.LZMAError, *(module.ZstdError for module in modules if module is not None))
