"""The registry's files on a plain web server: read only, and perhaps without listings."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, NoReturn

from fsspec import AbstractFileSystem

from xpm_stream.errors import RegistryError
from xpm_stream.registry.store import (
    CHUNK_BYTES,
    MAX_READ_BYTES,
    Draft,
    FileTooLarge,
    NotListed,
    append_chunks,
    foreign_errors_as_os,
)

_NO_LISTING: Final = frozenset(
    {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED}
)


class WebStore:
    """Files below an http or https URL."""

    def __init__(self, filesystem: AbstractFileSystem, *, root: str, url: str) -> None:
        self._fs: Any = filesystem
        self._root = root.rstrip("/")
        self._url = url

    @property
    def url(self) -> str:
        """The URL, without credentials."""
        return self._url

    def read(self, path: str, *, max_bytes: int = MAX_READ_BYTES) -> bytes:
        """Return a file's bytes."""
        data = bytearray()
        for chunk in self._stream(path):
            data += chunk
            if len(data) > max_bytes:
                raise FileTooLarge(path, url=self._url, max_bytes=max_bytes)
        return bytes(data)

    def fetch(self, path: str, target: Path, *, size: int, on_bytes: Callable[[int], object]) -> None:
        """Download a file by ranges; from a server that knows none, in one piece."""

        def chunks_from(offset: int) -> Iterator[bytes]:
            try:
                for chunk in self._ranges(path, offset=offset, size=size):
                    yield chunk
                    offset += len(chunk)
            except ValueError:  # the server sends the whole file whatever range is asked for
                yield from _without_first(offset, self._stream(path))

        append_chunks(target, chunks_from, path=path, url=self._url, size=size, on_bytes=on_bytes)

    def names(self, folder: str) -> list[str]:
        """Sorted names of what the server's page for `folder` links to."""
        try:
            with foreign_errors_as_os(self._url):
                paths = self._fs.ls(self._full(folder) + "/", detail=False)
        except OSError as error:
            status = getattr(error.__cause__, "status", None)
            if not isinstance(error, FileNotFoundError) and status not in _NO_LISTING:
                raise  # a server that fails, or cannot be reached
            raise NotListed(f"{self._url} is a web server that does not list its folders") from error
        # Pages also have links that sort them (?C=N;O=D) and to the parent folder.
        below = self._full(folder) + "/"
        names = {path.removeprefix(below).rstrip("/") for path in paths}
        return sorted(name for name in names if name and name[0] not in ".?#" and "/" not in name)

    def create(self, path: str, data: bytes) -> None:
        """Refuse: a web server is only read."""
        self._refuse()

    def draft(self, folder: str) -> AbstractContextManager[Draft]:
        """Refuse: a web server is only read."""
        self._refuse()

    def delete(self, path: str) -> None:
        """Refuse: a web server is only read."""
        self._refuse()

    def delete_folder(self, folder: str, *, first: str) -> None:
        """Refuse: a web server is only read."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise RegistryError(
            f"{self._url} is a web server, which can be read and not written; to write, set registry.url to a local "
            "folder, s3:// or gs://"
        )

    def _stream(self, path: str) -> Iterator[bytes]:
        # Any size keeps fsspec from asking for it: what fails then, it calls a missing file.
        yield from self._chunks(path, size=1, block_size=0)

    def _ranges(self, path: str, *, offset: int, size: int) -> Iterator[bytes]:
        if offset < size:
            ranged = {"size": size, "block_size": CHUNK_BYTES, "cache_type": "none"}
            # A ValueError tells `fetch` that the server knows no ranges.
            yield from self._chunks(path, offset=offset, passing=(ValueError,), **ranged)

    def _chunks(
        self, path: str, *, offset: int = 0, passing: tuple[type[Exception], ...] = (), **how: Any
    ) -> Iterator[bytes]:
        # A range of compressed bytes is none of the file's.
        headers = {**self._fs.kwargs.get("headers", {}), "Accept-Encoding": "identity"}
        with (
            foreign_errors_as_os(self._url, passing=passing),
            contextlib.closing(self._fs.open(self._full(path), "rb", headers=headers, **how)) as file,
        ):
            if offset:
                file.seek(offset)
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root


def _without_first(count: int, chunks: Iterator[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        if count < len(chunk):
            yield chunk[count:]
        count = max(0, count - len(chunk))
