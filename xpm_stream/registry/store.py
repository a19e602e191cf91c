"""Files on any fsspec URL with the two things a registry needs: exclusive creation, and folders that appear whole."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Protocol

import fsspec.core
import msgspec

from xpm_stream.errors import RegistryError, XpmStreamError
from xpm_stream.registry.patience import Patience, StoreRefusal

CHUNK_BYTES: Final = 8 * 1024 * 1024  # unit of copying and hashing
MAX_RECORD_BYTES: Final = 64 * 1024 * 1024  # of a manifest, an entry of a log, a lease
MAX_READ_BYTES: Final = 1024 * 1024 * 1024  # of what is none of these, nor a checkpoint's file

# Only these create a file atomically if it is not there (S3: If-None-Match; GCS: ifGenerationMatch=0).
# fsspec's default `mode="create"` looks first and writes then, so two promoters could both win.
_OBJECT_PROTOCOLS: Final = frozenset({"s3", "s3a", "gs", "gcs", "memory"})
# Whose errors are not OSErrors.
_CLIENTS: Final = frozenset(
    {"aiohttp", "botocore", "aiobotocore", "gcsfs", "google", "huggingface_hub"}
    | {"httpx", "httpx2", "httpcore", "httpcore2", "requests"}
)
_NO_CREDENTIALS: Final = frozenset({"NoCredentialsError", "PartialCredentialsError"})  # of botocore, in no base class
_PACKAGES: Final = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "hf": "huggingface_hub"}
_FORBIDDEN_PROTOCOLS: Final = frozenset({"pipe", "python", "pyscript", "reference", "dask", "jlab", "jupyter"})


class FileTooLarge(RegistryError):
    """A file of a registry that is larger than any of its kind."""

    def __init__(self, path: str, *, url: str, max_bytes: int) -> None:
        super().__init__(f"{path} in {url} has more than {max_bytes} bytes: it was damaged or changed")


class FileDigest(msgspec.Struct, frozen=True):
    """Size and sha256 of one file."""

    size: int  # bytes
    sha256: str  # lower-case hex


class NotListed(RegistryError):
    """A web server that does not list its folders."""


class Draft(Protocol):
    """A folder being written; nobody sees it before `publish`."""

    def put(self, name: str, content: bytes | Path) -> FileDigest:
        """Write one file durably and return what was written.

        Raises:
            OSError: the file could not be written (no space, no permission, ...).
        """
        ...

    def publish(self, name: str, content: bytes) -> None:
        """Write the last file `name` and make the folder visible, whole and durable.

        Raises:
            FileExistsError: the folder is there already.
            OSError: it could not be written.
        """
        ...


class Store(Protocol):
    """Files below one URL; paths are relative, with `/`."""

    @property
    def url(self) -> str:
        """Where the files are, without credentials; for messages."""
        ...

    def create(self, path: str, data: bytes) -> None:
        """Create a file that must not exist; once this returns, it is durable and visible whole.

        Raises:
            FileExistsError: somebody created it first.
            OSError: it could not be written.
            RegistryError: the backend cannot create atomically.
        """
        ...

    def read(self, path: str, *, max_bytes: int = MAX_READ_BYTES) -> bytes:
        """Return a file's bytes.

        Raises:
            FileNotFoundError: there is none.
            FileTooLarge: it has more than `max_bytes`.
        """
        ...

    def fetch(self, path: str, target: Path, *, size: int, on_bytes: Callable[[int], object]) -> None:
        """Bring a file that should have `size` bytes to the local path `target`, and sync it.

        If `target` holds the beginning of it, only the rest is brought, where the backend can. On the same disk it
        becomes a hard link. `on_bytes` is told how many bytes of it are here, each time there are more.

        Raises:
            FileNotFoundError: there is none.
            FileTooLarge: it has more than `size` bytes.
            OSError: it could not be read or written; what has come stays in `target`.
        """
        ...

    def names(self, folder: str) -> list[str]:
        """Sorted names of what lies directly in `folder`, dot files left out; none if there is no such folder.

        Raises:
            NotListed: the backend cannot list folders, as some web servers.
        """
        ...

    def draft(self, folder: str) -> AbstractContextManager[Draft]:
        """Begin a folder; leaving the context without `publish` removes what was written.

        Raises:
            RegistryError: the backend cannot create atomically.
        """
        ...

    def delete(self, path: str) -> None:
        """Delete a file, if it is still there; once this returns, it stays away.

        Raises:
            OSError: it could not be deleted.
        """
        ...

    def delete_folder(self, folder: str, *, first: str) -> None:
        """Remove a folder: file `first` disappears before the others, so that readers see all of it or nothing.

        Raises:
            FileNotFoundError: there is none.
        """
        ...


def open_store(url: str | Path, *, patience: Patience | None = None) -> Store:
    """Open the store at `url`: a local path, or any fsspec URL.

    Backends without atomic creation can be read, and refuse to write. An object store that does not answer is asked
    again with `patience`; none: what its client raised is raised at once.

    Raises:
        RegistryError: the URL's protocol is unknown, its package is missing, or it runs programs.
    """
    from xpm_stream.registry.local_store import LocalStore
    from xpm_stream.registry.object_store import ObjectStore
    from xpm_stream.registry.web_store import WebStore

    text = str(url)
    shown = without_credentials(text)
    if any(protocol in _FORBIDDEN_PROTOCOLS for protocol in re.findall(r"([a-z0-9+]+)(?:::|://|:)", text.lower())):
        raise RegistryError(f"registry URL {shown} is refused: it could run programs; use a path, s3:// or gs://")
    try:
        # Listings must not be cached: other processes write here.
        filesystem, root = fsspec.core.url_to_fs(text, use_listings_cache=False)
    except ImportError as error:
        package = _PACKAGES.get(text.partition("://")[0])
        hint = f"pip install {package}" if package else str(error)
        raise RegistryError(f"registry URL {shown} needs a package that is not installed: {hint}") from error
    except ValueError as error:
        raise RegistryError(f"registry URL {shown} cannot be opened: {error}") from error
    protocols = {filesystem.protocol} if isinstance(filesystem.protocol, str) else set(filesystem.protocol)
    if "file" in protocols:
        return LocalStore(Path(root))
    if "http" in protocols:
        return WebStore(filesystem, root=root, url=shown)
    can_create = bool(protocols & _OBJECT_PROTOCOLS)
    return ObjectStore(filesystem, root=root, url=shown, can_create=can_create, patience=patience)


def without_credentials(url: str) -> str:
    """Return `url` without user name and password."""
    return re.sub(r"://[^/\s]*@", "://", url)


@contextlib.contextmanager
def foreign_errors_as_os(url: str, *, passing: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Turn what clients of stores raise into OSError, which names the store; a missing file: FileNotFoundError.

    A ValueError, such as of an address in the environment that is none, is one of theirs too, unless it is `passing`.
    """
    ours: tuple[type[Exception], ...] = (OSError, XpmStreamError, *passing)
    try:
        yield
    except ours:
        raise
    except Exception as error:
        if not isinstance(error, ValueError) and type(error).__module__.partition(".")[0] not in _CLIENTS:
            raise
        if getattr(error, "status", None) == http.HTTPStatus.NOT_FOUND:
            raise FileNotFoundError(errno.ENOENT, "not found", url) from error
        if type(error).__name__ in _NO_CREDENTIALS:
            raise StoreRefusal(
                f"cannot reach {url}: no credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
                "AWS_PROFILE; for a public bucket FSSPEC_S3_ANON=true"
            ) from error
        kind = StoreRefusal if isinstance(error, ValueError) else OSError
        raise kind(f"cannot reach {url}: {error}") from error


def append_chunks(
    target: Path,
    chunks_from: Callable[[int], Iterator[bytes]],
    *,
    path: str,
    url: str,
    size: int,
    on_bytes: Callable[[int], object],
) -> None:
    """Write the rest of a file: `chunks_from(offset)` gives its bytes from `offset` on. For `Store.fetch`.

    Raises:
        FileTooLarge: there are more than `size` bytes.
    """
    with target.open("ab") as stream:
        here = stream.tell()
        on_bytes(here)
        for chunk in chunks_from(here):
            here += len(chunk)
            if here > size:
                raise FileTooLarge(path, url=url, max_bytes=size)
            stream.write(chunk)
            stream.flush()  # what is told to be here survives a kill
            on_bytes(here)
        os.fsync(stream.fileno())


def digest_of(data: bytes) -> FileDigest:
    """Return size and sha256 of bytes."""
    return FileDigest(size=len(data), sha256=hashlib.sha256(data).hexdigest())


def digest_of_file(path: Path) -> FileDigest:
    """Return size and sha256 of a local file, read in chunks."""
    return _digest_stream(path, lambda _chunk: None)


def copy_with_digest(source: Path, write: Callable[[bytes], object]) -> FileDigest:
    """Feed a local file to `write` in chunks; return size and sha256 of what was fed."""
    return _digest_stream(source, write)


def _digest_stream(path: Path, write: Callable[[bytes], object]) -> FileDigest:
    sha = hashlib.sha256()
    size = 0
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            sha.update(chunk)
            write(chunk)
            size += len(chunk)
    return FileDigest(size=size, sha256=sha.hexdigest())
