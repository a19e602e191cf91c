"""Tar members from any store, plain or compressed: exact byte offsets, flat memory, damage told apart from the end.

Headers are parsed by the standard library (tarfile.TarInfo.frombuf). The walk over them is ours because tarfile takes a
damaged header for the end of the archive, and keeps every member it has seen.
"""

from __future__ import annotations

import contextlib
import lzma
import sys
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, Final, Literal

from fsspec.compression import compr

from xpm_stream.data.storage import explain, locate, transport_errors
from xpm_stream.errors import DataError, ShardError

BLOCK: Final = tarfile.BLOCKSIZE
READ_AHEAD: Final = 4 << 20  # bytes asked of a remote store at once
MAX_EXTENDED_HEADER: Final = 1 << 20  # bytes; a longer name or PAX header is damage
_MAX_PADDING: Final = 1 << 20  # bytes looked at behind the end marker
_EXTENDED_TYPES: Final = (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_SKIPPED_TYPES: Final = (tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE)

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


@dataclass(frozen=True, slots=True, kw_only=True)
class TarMember:
    """One entry of a tar. Offsets are bytes in the uncompressed tar."""

    name: str
    offset: int  # first header that belongs to the member, PAX and GNU headers included
    data_offset: int
    size: int  # bytes of data
    is_file: bool


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
def open_tar(url: str, *, start_offset: int = 0) -> Iterator[TarReader]:
    """Open a shard to be read from a member's offset on.

    Raises:
        ShardError: the shard is missing or cannot be read, or its name or compression is unknown.
    """
    compression = compression_of(url)
    if compression is not None and compression not in compr:
        raise ShardError(f"{url}: reading {compression} needs a package that is not installed (zstandard for .zst)")
    with contextlib.ExitStack() as stack:
        try:
            filesystem, path = locate(url)
            size = filesystem.info(path).get("size")
            file = stack.enter_context(filesystem.open(path, "rb", block_size=READ_AHEAD, cache_type="readahead"))
        except DataError as error:
            raise ShardError(str(error)) from error
        except transport_errors() as error:
            raise ShardError(f"cannot open shard {url}: {explain(error)}") from error
        stored = _StoredFile(file, url)
        if compression is None:
            stream = _TarStream(stored, url, size=size, can_seek=stored.can_seek())
        else:
            plain = stack.enter_context(compr[compression](stored, mode="rb"))
            stream = _TarStream(plain, url, size=None, can_seek=False)
        yield TarReader(stream, url, start_offset=start_offset)


class TarReader:
    """Walks over the members of an open tar; `offset` is where the member being looked at begins, or the end."""

    def __init__(self, stream: _TarStream, url: str, *, start_offset: int) -> None:
        self._stream = stream
        self.url = url
        self._header_block = b""
        self.offset = start_offset

    @property
    def can_seek(self) -> bool:
        """Whether members are byte ranges of the stored file."""
        return self._stream.can_seek

    def __iter__(self) -> Iterator[TarMember]:
        """Yield members to the end marker.

        Going to the start is a seek in a plain tar on a seekable store; else what is before is read through.

        Raises:
            TarDamageError: the tar cannot be read on.
            ShardError: the store cannot be read; later it may.
        """
        self._stream.skip_to(self.offset)
        while True:
            self.offset = self._stream.position
            member = self._next_member()
            if member is None:
                self._check_padding()
                return
            yield member
            self._stream.skip_to(member.data_offset + _padded(member.size))

    def read(self, member: TarMember) -> bytes:
        """Return the data of the member just yielded.

        Raises:
            TarDamageError: the tar ends inside it.
        """
        self._stream.skip_to(member.data_offset)
        return self._stream.read_exactly(member.size)

    def _next_member(self) -> TarMember | None:
        overrides: dict[str, str] = {}
        while True:
            header = self._next_header()
            if header is None:
                if overrides:
                    raise self._damaged("an extended header without its member")
                return None
            if header.type in _EXTENDED_TYPES:
                overrides |= self._extended_header(header)
            elif header.type in _SKIPPED_TYPES:
                self._stream.skip_to(self._stream.position + _padded(header.size))
            else:
                return self._member(header, overrides)

    def _member(self, header: tarfile.TarInfo, overrides: dict[str, str]) -> TarMember:
        size = _whole_number(overrides["size"]) if "size" in overrides else header.size
        if size is None or size < 0:
            raise self._damaged("a header says an impossible size")
        has_data = header.isreg() or header.type not in tarfile.SUPPORTED_TYPES
        sparse = header.type == tarfile.GNUTYPE_SPARSE or any(name.startswith("GNU.sparse") for name in overrides)
        if header.type == tarfile.GNUTYPE_SPARSE:
            self._skip_sparse_headers(header)
        return TarMember(
            name=overrides.get("path", header.name),
            offset=self.offset,
            data_offset=self._stream.position,
            size=size if has_data else 0,
            is_file=header.isreg() and not sparse,
        )

    def _next_header(self) -> tarfile.TarInfo | None:
        at_start = self._stream.position == 0
        block = self._stream.read_up_to(BLOCK)
        self._header_block = block
        if not block and at_start:
            raise TarDamageError(f"{self.url} is empty", reason="not_a_tar")
        if not block:
            raise TarDamageError(f"{self.url} ends without an end marker at byte {self.offset}", reason="end_missing")
        if len(block) < BLOCK:
            raise TarDamageError(f"{self.url} ends inside a header at byte {self.offset}", reason="truncated")
        if not any(block):
            return None
        try:
            # Names that are not UTF-8 stay distinct and printable.
            header = tarfile.TarInfo.frombuf(block, "utf-8", "backslashreplace")
        except tarfile.HeaderError as error:
            if at_start:
                raise TarDamageError(f"{self.url} is not a tar ({error})", reason="not_a_tar") from error
            raise self._damaged(str(error)) from error
        if header.size < 0:
            raise self._damaged("a header says a negative size")
        return header

    def _extended_header(self, header: tarfile.TarInfo) -> dict[str, str]:
        if header.size > MAX_EXTENDED_HEADER:
            raise self._damaged(f"an extended header of {header.size} bytes")
        start = self._stream.position
        body = self._stream.read_exactly(header.size)
        self._stream.skip_to(start + _padded(header.size))
        if header.type == tarfile.GNUTYPE_LONGNAME:
            return {"path": body.rstrip(b"\0").decode("utf-8", "backslashreplace")}
        records = _parse_pax(body)
        if records is None:
            raise self._damaged("a PAX header that cannot be parsed")
        return records

    def _skip_sparse_headers(self, header: tarfile.TarInfo) -> None:
        more = self._header_block[482]
        while more:
            more = self._stream.read_exactly(BLOCK)[504]

    def _check_padding(self) -> None:
        # Zeros in the middle (a hole left by a crash) look like the end marker; data behind it shows that it is none.
        position = self._stream.position
        while self._stream.position < position + _MAX_PADDING:
            chunk = self._stream.read_up_to(16 * BLOCK)
            if not chunk:
                return
            if any(chunk):
                message = f"{self.url} has data behind the end marker at byte {self.offset}: a hole, or several tars"
                raise TarDamageError(message, reason="data_after_end")

    def _damaged(self, what: str) -> TarDamageError:
        return TarDamageError(f"{self.url} is damaged at byte {self.offset}: {what}", reason="header_damaged")


class _TarStream:
    """Exact forward reads of the (uncompressed) tar."""

    def __init__(self, file: IO[bytes] | Any, url: str, *, size: int | None, can_seek: bool) -> None:
        self._file = file
        self._url = url
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
            message = f"{self._url} cannot be decompressed beyond byte {self.position} of its tar: {error}"
            raise TarDamageError(message, reason="compression_broken") from error

    def _truncated(self) -> TarDamageError:
        return TarDamageError(f"{self._url} is truncated: it ends after byte {self.position}", reason="truncated")


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
            raise ShardError(f"cannot read {self._url} at byte {self._position}: {explain(error)}") from error
        self._position += len(data)
        return data

    def seek(self, position: int) -> int:
        self._position = position
        return position

    def can_seek(self) -> bool:
        """Tell whether the store really seeks; some file objects say so and then raise."""
        try:
            self._file.seek(1)
            self._file.seek(0)
        except (OSError, ValueError):
            return False
        return True


def _decompression_errors() -> tuple[type[Exception], ...]:
    modules = (sys.modules.get(name) for name in ("zstandard", "compression.zstd"))
    return (OSError, zlib.error, lzma.LZMAError, *(module.ZstdError for module in modules if module is not None))


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _whole_number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _parse_pax(body: bytes) -> dict[str, str] | None:
    """Parse `<length> <key>=<value>\\n` records; none if they are malformed."""
    records: dict[str, str] = {}
    position = 0
    while position < len(body) and body[position]:
        digits, space, _ = body[position : position + 20].partition(b" ")
        length = _whole_number(digits.decode("latin-1"))
        record = body[position : position + (length or 0)]
        key, equals, value = record[len(digits) + 1 : -1].partition(b"=")
        if not (space and length and equals and len(record) == length and record.endswith(b"\n")):
            return None
        records[key.decode("utf-8", "backslashreplace")] = value.decode("utf-8", "backslashreplace")
        position += length
    return records
