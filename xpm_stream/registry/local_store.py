"""The registry's files in a local folder: hard links create, a rename publishes, fsync makes durable."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from xpm_stream.errors import RegistryError
from xpm_stream.registry.store import MAX_READ_BYTES, FileDigest, FileTooLarge, copy_with_digest, digest_of

_STAGING: Final = ".incoming"  # folders being written or removed, each with a lock file its writer holds
_NO_HARD_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})


class LocalStore:
    """Files below a folder of this machine or of a network disk that has hard links, rename and locks."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def url(self) -> str:
        """The folder."""
        return str(self._root)

    def create(self, path: str, data: bytes) -> None:
        """Create a file exclusively: written and synced under another name, then linked."""
        target = self._root / path
        make_folder(target.parent)
        temporary = target.parent / f".{target.name}.{uuid.uuid4().hex}"
        try:
            _write_durably(temporary, data)
            try:
                # Not O_EXCL on the target itself: a crash half-way would leave a torn file that counts.
                os.link(temporary, target)
            except OSError as error:
                if error.errno in _NO_HARD_LINKS:
                    raise RegistryError(
                        f"the disk of {self._root} has no hard links, so files cannot be created exclusively; "
                        "set registry.url to a folder on another disk"
                    ) from error
                raise
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(target.parent)

    def read(self, path: str, *, max_bytes: int = MAX_READ_BYTES) -> bytes:
        """Return a file's bytes."""
        with (self._root / path).open("rb") as stream:
            if os.fstat(stream.fileno()).st_size > max_bytes:
                raise FileTooLarge(path, url=self.url, max_bytes=max_bytes)
            return stream.read()

    def fetch(self, path: str, target: Path, *, size: int, on_bytes: Callable[[int], object]) -> None:
        """Link the file at `target`, or copy it where another disk forbids links."""
        source = self._root / path
        if not source.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(source))
        if source.stat().st_size > size:
            raise FileTooLarge(path, url=self.url, max_bytes=size)
        target.unlink(missing_ok=True)
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno != errno.EXDEV and error.errno not in _NO_HARD_LINKS:
                raise
            shutil.copyfile(source, target)
            with target.open("rb") as copied:
                os.fsync(copied.fileno())
        on_bytes(target.stat().st_size)

    def names(self, folder: str) -> list[str]:
        """Sorted names of what lies directly in `folder`."""
        try:
            return sorted(path.name for path in (self._root / folder).iterdir() if not path.name.startswith("."))
        except FileNotFoundError:
            return []

    @contextlib.contextmanager
    def draft(self, folder: str) -> Iterator[LocalDraft]:
        """Begin a folder in the staging area; leftovers of killed writers are removed first."""
        staging = self._root / _STAGING
        make_folder(staging)
        remove_leftovers(staging)
        with locked_scratch(staging) as scratch:
            yield LocalDraft(scratch, target=self._root / folder)

    def delete(self, path: str) -> None:
        """Unlink a file."""
        target = self._root / path
        if target.exists():
            target.unlink(missing_ok=True)  # another process may be deleting it, too
            sync_folder(target.parent)

    def delete_folder(self, folder: str, *, first: str) -> None:
        """Move a folder out of sight in one step, then remove it."""
        staging = self._root / _STAGING
        make_folder(staging)
        with locked_scratch(staging) as scratch:
            (self._root / folder).rename(scratch / "removed")
            sync_folder((self._root / folder).parent)


class LocalDraft:
    """A folder in the staging area."""

    def __init__(self, scratch: Path, *, target: Path) -> None:
        self._folder = scratch / "folder"
        self._folder.mkdir()
        self._target = target

    def put(self, name: str, content: bytes | Path) -> FileDigest:
        """Write and sync one file."""
        return _write_durably(self._folder / name, content)

    def publish(self, name: str, content: bytes) -> None:
        """Write the last file, then rename the folder to where it is seen."""
        _write_durably(self._folder / name, content)
        sync_folder(self._folder)
        make_folder(self._target.parent)
        try:
            self._folder.rename(self._target)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise FileExistsError(error.errno, "there already", str(self._target)) from error
            raise
        sync_folder(self._target.parent)


@contextlib.contextmanager
def locked_scratch(staging: Path) -> Iterator[Path]:
    """Yield a new folder below `staging`, removed at the end; its lock tells others that its owner lives."""
    while True:
        scratch = staging / uuid.uuid4().hex
        lock = os.open(f"{scratch}.lock", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        # The kernel frees the lock of a killed process, on whichever machine it was.
        if _try_lock(lock) and os.fstat(lock).st_nlink == 1:
            break
        os.close(lock)  # somebody took it for a leftover before we held it
    try:
        scratch.mkdir()
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        Path(f"{scratch}.lock").unlink(missing_ok=True)
        os.close(lock)


def remove_leftovers(staging: Path) -> None:
    """Remove what killed processes left below `staging`; what living ones hold stays."""
    for path in staging.glob("*.lock"):
        try:
            lock = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            continue
        try:
            if _try_lock(lock):
                shutil.rmtree(path.with_suffix(""), ignore_errors=True)
                path.unlink(missing_ok=True)
        finally:
            os.close(lock)


def make_folder(folder: Path) -> None:
    """Create a folder with its parents, so that it survives a power cut."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_durably(path: Path, content: bytes | Path) -> FileDigest:
    with path.open("xb") as stream:
        if isinstance(content, bytes):
            stream.write(content)
            digest = digest_of(content)
        else:
            digest = copy_with_digest(content, stream.write)
        stream.flush()
        os.fsync(stream.fileno())
    return digest


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
