"""The members of a tar: exact byte offsets, flat memory, damage told apart from the end.

Headers are parsed by the standard library (tarfile.TarInfo.frombuf). The walk over them is ours because tarfile takes a
damaged header for the end of the archive, and keeps every member it has seen.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from xpm_stream.data.tar_stream import TarDamageError, TarStream

BLOCK: Final = tarfile.BLOCKSIZE
MAX_EXTENDED_HEADER: Final = 1 << 20  # bytes of one; a longer name or PAX header is damage
MAX_EXTENDED_HEADERS: Final = 16  # before one member
_MAX_PADDING: Final = 1 << 20  # bytes looked at behind the end marker
_EXTENDED_TYPES: Final = (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_SKIPPED_TYPES: Final = (tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE)


@dataclass(frozen=True, slots=True, kw_only=True)
class TarMember:
    """One entry of a tar. Offsets are bytes in the uncompressed tar."""

    name: str
    offset: int  # first header that belongs to the member, PAX and GNU headers included
    data_offset: int
    size: int  # bytes of data
    is_file: bool


class TarReader:
    """Walks over the members of an open tar; `offset` is where the member being looked at begins, or the end."""

    def __init__(self, stream: TarStream, *, start_offset: int = 0) -> None:
        self._stream = stream
        self.url = stream.url
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
            member = self._next_member()
            if member is None:
                self._check_padding()
                return
            yield member
            # Set first: a cut in what is passed over comes after this member, whose data may be whole.
            self.offset = member.data_offset + _padded(member.size)
            self._stream.skip_to(self.offset)

    def read(self, member: TarMember) -> bytes:
        """Return the data of the member just yielded.

        Raises:
            TarDamageError: the tar ends inside it.
        """
        self._stream.skip_to(member.data_offset)
        return self._stream.read_exactly(member.size)

    def _next_member(self) -> TarMember | None:
        overrides: dict[str, str] = {}
        extended = 0
        while True:
            header = self._next_header()
            if header is None:
                if overrides:
                    raise self._damaged("an extended header without its member")
                return None
            if header.type in _EXTENDED_TYPES:
                extended += 1
                if extended > MAX_EXTENDED_HEADERS:
                    raise self._damaged(f"more than {MAX_EXTENDED_HEADERS} extended headers before a file")
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
