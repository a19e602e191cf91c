"""The registry's files in an object store (S3, GCS, or fsspec's memory): a conditional put creates."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

from fsspec import AbstractFileSystem

from xpm_stream.errors import RegistryError, RegistryUnavailable
from xpm_stream.registry.patience import Patience
from xpm_stream.registry.store import (
    CHUNK_BYTES,
    MAX_READ_BYTES,
    FileDigest,
    FileTooLarge,
    append_chunks,
    digest_of,
    digest_of_file,
    foreign_errors_as_os,
)

Result = TypeVar("Result")

# fsspec's memory filesystem is one dictionary of this process and looks before it writes: this makes it one step.
_MEMORY_LOCK: Final = threading.Lock()


class ObjectStore:
    """Files below a prefix of an fsspec filesystem. Objects appear whole and durable by themselves."""

    def __init__(
        self, filesystem: AbstractFileSystem, *, root: str, url: str, can_create: bool, patience: Patience | None = None
    ) -> None:
        self._fs: Any = filesystem
        self._root = root.rstrip("/")
        self._url = url
        self._can_create = can_create
        self._patience = patience
        self._proven = False
        self._lock: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
        if "memory" in filesystem.protocol:
            self._lock, self._proven = _MEMORY_LOCK, True

    @property
    def url(self) -> str:
        """The URL, without credentials."""
        return self._url

    def create(self, path: str, data: bytes) -> None:
        """Create an object unless there is one."""
        self._require_atomic_create()
        try:
            self._put_new(path, data)
        except FileExistsError:
            # A request repeated after its answer was lost is refused by itself. What is created here tells its writer:
            # a manifest or an entry of a log with its time.
            if self.read(path) != data:
                raise

    def read(self, path: str, *, max_bytes: int = MAX_READ_BYTES) -> bytes:
        """Return an object's bytes."""

        def whole() -> bytes:
            size = self._fs.info(self._full(path)).get("size")  # none: a backend that does not say
            if size is not None and size > max_bytes:
                raise FileTooLarge(path, url=self._url, max_bytes=max_bytes)
            data: bytes = self._fs.cat_file(self._full(path))
            return data

        return self._ask(whole)

    def fetch(self, path: str, target: Path, *, size: int, on_bytes: Callable[[int], object]) -> None:
        """Download an object by ranges."""
        full = self._full(path)

        def chunks_from(offset: int) -> Iterator[bytes]:
            with foreign_errors_as_os(self._url):
                found = self._fs.info(full).get("size")
                if found is not None and found > size:
                    raise FileTooLarge(path, url=self._url, max_bytes=size)
                while offset < size:
                    chunk = self._fs.cat_file(full, start=offset, end=min(offset + CHUNK_BYTES, size))
                    if not chunk:
                        return  # shorter than it should be: its sha256 will say so
                    offset += len(chunk)
                    yield chunk

        append_chunks(target, chunks_from, path=path, url=self._url, size=size, on_bytes=on_bytes)

    def names(self, folder: str) -> list[str]:
        """Sorted names of what lies directly in `folder`."""
        try:
            with self._lock:
                paths = self._ask(lambda: self._fs.ls(self._full(folder), detail=False))
        except FileNotFoundError:
            return []
        names = {path.rstrip("/").rsplit("/", 1)[-1] for path in paths}
        return sorted(name for name in names if name and not name.startswith("."))

    @contextlib.contextmanager
    def draft(self, folder: str) -> Iterator[ObjectDraft]:
        """Begin a folder in place: readers look for its last file first, so it is not there before that one."""
        self._require_atomic_create()
        draft = ObjectDraft(self, folder)
        try:
            yield draft
        finally:
            draft.discard_unpublished()

    def delete_folder(self, folder: str, *, first: str) -> None:
        """Delete `first`, then the rest; half an upload, which has no `first`, too."""
        names = self.names(folder)
        if not names:
            raise FileNotFoundError(self._full(folder))
        for name in sorted(names, key=lambda name: name != first):
            self.delete(f"{folder}/{name}")

    def put_new(self, path: str, content: bytes | Path) -> FileDigest:
        """Create one object from bytes or a local file."""
        if isinstance(content, bytes):
            digest = digest_of(content)
            self._put_new(path, content, digest=digest)
        elif "memory" in self._fs.protocol:
            digest = digest_of_file(content)
            self._put_new(path, content.read_bytes(), digest=digest)
        else:
            digest = digest_of_file(content)
            full = self._full(path)
            self._create_once(path, lambda: self._fs.put_file(str(content), full, mode="create"), digest=digest)
        return digest

    def delete(self, path: str) -> None:
        """Delete one object, if it is still there."""
        with contextlib.suppress(FileNotFoundError):
            self._ask(lambda: self._fs.rm_file(self._full(path)))

    def _put_new(self, path: str, data: bytes, *, digest: FileDigest | None = None) -> None:
        full = self._full(path)
        with self._lock:
            self._create_once(path, lambda: self._fs.pipe_file(full, data, mode="create"), digest=digest)

    def _create_once(self, path: str, put: Callable[[], object], *, digest: FileDigest | None) -> None:
        """Create an object; with its `digest`, one found when the request is repeated may be what the first one left.

        Raises:
            FileExistsError: it was there before.
        """
        attempts = 0

        def create() -> None:
            nonlocal attempts
            attempts += 1
            with _conflicts_as_exists():
                put()

        try:
            self._ask(create)
        except FileExistsError:
            # Never at the first attempt: two who write the same file must not both believe it theirs to delete.
            if attempts == 1 or digest is None or digest_of(self.read(path)) != digest:
                raise

    def _ask(self, operation: Callable[[], Result]) -> Result:
        """Return what the store answers, with patience. Not for `fetch`: a pull goes on with a file by itself."""

        def ask() -> Result:
            with foreign_errors_as_os(self._url):
                return operation()

        return ask() if self._patience is None else self._patience.call(ask, url=self._url)

    def _require_atomic_create(self) -> None:
        """Servers that speak S3 may ignore the condition and overwrite: prove once that this one keeps it."""
        if self._can_create and not self._proven:
            probe = f".probe-{uuid.uuid4().hex}"
            try:
                self._put_new(probe, b"first")
                self._put_new(probe, b"second")
            except FileExistsError:
                self._proven = True
            finally:
                self.delete(probe)
        if not self._proven:
            raise RegistryError(
                f"{self._url} cannot create a file only if it is absent, so two promoters could both win; "
                "set registry.url to a local folder, or to s3:// or gs:// on a server with conditional writes"
            )

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}"


class ObjectDraft:
    """Objects of a folder whose last one is still missing."""

    def __init__(self, store: ObjectStore, folder: str) -> None:
        self._store = store
        self._folder = folder
        self._written: list[str] = []

    def put(self, name: str, content: bytes | Path) -> FileDigest:
        """Upload one file; it must be new, so that nobody's published file is overwritten."""
        path = f"{self._folder}/{name}"
        digest = self._store.put_new(path, content)
        self._written.append(path)
        return digest

    def publish(self, name: str, content: bytes) -> None:
        """Upload the last file, which makes the folder count."""
        self._store.create(f"{self._folder}/{name}", content)
        self._written.clear()

    def discard_unpublished(self) -> None:
        """Delete what was uploaded if the folder was not published; what cannot be, is never seen."""
        with contextlib.suppress(OSError, RegistryUnavailable):  # why it was not published is the error to tell
            for path in self._written:
                self._store.delete(path)


@contextlib.contextmanager
def _conflicts_as_exists() -> Iterator[None]:
    """Turn a failed condition into FileExistsError, for servers that do not name the condition in their answer."""
    try:
        yield
    except OSError as error:
        answer = getattr(error.__cause__, "response", None) or {}
        if answer.get("Error", {}).get("Code") in ("PreconditionFailed", "ConditionalRequestConflict", "412", "409"):
            raise FileExistsError(str(error)) from error
        raise
