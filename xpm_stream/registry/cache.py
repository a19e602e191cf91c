"""Copies of checkpoints on this machine: brought file by file, kept from attempt to attempt, checked before use."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from xpm_stream.errors import CheckpointError
from xpm_stream.registry.checkpoint_folder import CheckpointFolder
from xpm_stream.registry.checkpoints import say_os_error
from xpm_stream.registry.local_store import make_folder, sync_folder
from xpm_stream.registry.manifest import MANIFEST, CheckpointInfo
from xpm_stream.registry.patience import may_pass
from xpm_stream.registry.store import FileDigest, digest_of_file


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedCopy:
    """A checkpoint in a cache, or what has come of one."""

    name: str  # its folder's: NAME@DIGEST
    size: int  # bytes
    used_at_s: float  # Unix time
    whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PullProgress:
    """How far a pull is."""

    checkpoint: str
    file: str  # being brought
    done: int  # bytes of the checkpoint that are here
    total: int  # bytes of the checkpoint
    waiting: bool = False  # for another process that brings the same checkpoint


DECISIONS: Final = "decisions.json"  # what the promotion log says of a checkpoint, beside its own files
OnProgress = Callable[[PullProgress], None]


class CheckpointCache:
    """A folder with one folder for each checkpoint, named by it and by what is in it: `NAME@DIGEST`.

    Any number of processes may share one. What a killed one had brought of a file is gone on from.
    """

    def __init__(self, folder: str | Path) -> None:
        self._root = Path(folder)
        self._partial = self._root / ".partial"

    def bring(self, source: CheckpointFolder, *, on_progress: OnProgress | None = None) -> Path:
        """Return the local folder of a checkpoint, checked; bring what is missing or damaged.

        Of a checkpoint that is here already only the manifest is read from `source`. The folder stays usable when the
        checkpoint is removed there. Do not change files in it: of a registry on the same disk they are hard links.

        Raises:
            CheckpointError: there is no such checkpoint, a file differs from its manifest, the source breaks off, or
                the cache cannot be written.
            OSError: the source cannot be reached.
        """
        manifest = source.manifest()
        info = source.parse(manifest)
        identity = f"{info.name}@{info.digest[:16]}"
        target, partial = self._root / identity, self._partial / identity
        if _is_whole(target, info, manifest):
            return target
        report = on_progress or (lambda _: None)
        with self._writing(source), _locked(self._partial, identity, report=lambda: report(_waiting(info))):
            if _is_whole(target, info, manifest):
                return target  # another process brought it meanwhile
            if target.is_dir():  # damaged: what is whole of it need not be brought again
                shutil.rmtree(partial, ignore_errors=True)
                target.rename(partial)
            make_folder(partial)
            _bring_files(source, info, partial, report)
            _write(partial / MANIFEST, manifest)
            sync_folder(partial)
            partial.rename(target)
            sync_folder(self._root)
        return target

    def write_beside(self, folder: Path, name: str, data: bytes) -> None:
        """Write a file that is not the checkpoint's own into its folder, in one step; in another's cache it is left.

        Raises:
            CheckpointError: it cannot be written.
        """
        path = folder / name
        with contextlib.suppress(OSError):
            if path.read_bytes() == data:
                return
        try:
            make_folder(self._partial)
            with tempfile.TemporaryDirectory(dir=self._partial) as scratch:
                draft = Path(scratch) / name
                draft.write_bytes(data)
                draft.replace(path)
        except OSError as error:
            if isinstance(error, PermissionError) or error.errno == errno.EROFS:
                return
            why = say_os_error(error, elsewhere="choose another cache (XPM_STREAM_CACHE)")
            raise CheckpointError(f"cannot write {path}: {why}") from error

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self._root

    def copies(self) -> list[CachedCopy]:
        """Return what is there, the last used last; what has come of pulls that broke off is not whole."""
        found = []
        for folder in (*self._root.glob("*@*"), *self._partial.glob("*@*")):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # another process was here
                size = sum(path.stat().st_size for path in folder.iterdir())
                whole = folder.parent == self._root
                used_at_s = folder.stat().st_mtime
                found.append(CachedCopy(name=folder.name, size=size, used_at_s=used_at_s, whole=whole))
        return sorted(found, key=lambda copy: copy.used_at_s)

    def trim(self, *, keep: int) -> list[str]:
        """Remove all but the `keep` checkpoints used last, and what nobody goes on bringing; return the removed names.

        Raises:
            ValueError: `keep` is below 1.
        """
        if keep < 1:
            raise ValueError(f"keep must be at least 1, not {keep}: the checkpoint in use is never removed")
        folders = sorted(self._root.glob("*@*"), key=lambda folder: folder.stat().st_mtime_ns)
        removed = [folder.name for folder in folders[:-keep]]
        for name in {*removed, *(path.name for path in self._partial.glob("*@*") if path.is_dir())}:
            with _locked(self._partial, name, report=lambda: None, wait=False) as ours:
                if ours:
                    shutil.rmtree(self._partial / name, ignore_errors=True)
                    if name in removed:
                        (self._root / name).rename(self._partial / name)
                        shutil.rmtree(self._partial / name)
        return removed

    @contextlib.contextmanager
    def _writing(self, source: CheckpointFolder) -> Iterator[None]:
        try:
            make_folder(self._partial)
            yield
        except OSError as error:
            hint = "choose another cache (XPM_STREAM_CACHE)"
            raise CheckpointError(
                f"cannot bring checkpoint {source.name!r} of {source.url} into the cache {self._root}: "
                f"{say_os_error(error, elsewhere=hint)}. What has come is kept: try again to go on"
            ) from error


def copy_checkpoint(folder: Path, to: Path) -> Path:
    """Copy a local checkpoint folder to the new folder `to`, which appears whole or not at all; return its path.

    A folder that holds the same checkpoint already stays as it is.

    Raises:
        CheckpointError: something else is there, or it cannot be written.
    """
    info = CheckpointFolder.alone(folder).info()
    target = to.absolute()
    if _is_whole(target, info, (folder / MANIFEST).read_bytes()):
        return target
    if target.exists():
        raise CheckpointError(f"{target} is there and is not checkpoint {info.name!r}: choose a new folder")
    try:
        make_folder(target.parent)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as scratch:
            beside = [DECISIONS] if (folder / DECISIONS).is_file() else []
            for file in (*info.files, MANIFEST, *beside):
                shutil.copyfile(folder / file, Path(scratch) / file)
            Path(scratch).chmod(0o755)  # as folders are, not as temporary ones
            altered = first_altered(Path(scratch), info)
            if altered is not None:
                raise CheckpointFolder.alone(folder).altered(altered)
            Path(scratch).rename(target)
            Path(scratch).mkdir()  # what the block removes at its end
    except OSError as error:
        why = say_os_error(error, elsewhere="choose another folder")
        raise CheckpointError(f"cannot copy checkpoint {info.name!r} to {target}: {why}") from error
    return target


def _bring_files(source: CheckpointFolder, info: CheckpointInfo, folder: Path, report: OnProgress) -> None:
    total = info.size
    done = 0
    for file, expected in info.files.items():

        def tell(here: int, file: str = file, before: int = done) -> None:
            report(PullProgress(checkpoint=info.name, file=file, done=before + here, total=total))

        tell(0)
        if not _is_file(folder / file, expected):
            for attempt in _attempts():
                with attempt:
                    source.fetch(info, file, folder / file, on_bytes=tell)
        done += expected.size
        tell(expected.size)


def _attempts() -> Retrying:
    """A connection that broke is made again, and the file gone on with; what needs a person is not tried again."""
    return Retrying(
        retry=retry_if_exception(may_pass), stop=stop_after_attempt(4), wait=wait_exponential(0.25), reraise=True
    )


def first_altered(folder: Path, info: CheckpointInfo) -> str | None:
    """Return the first file of a local folder that is not as the manifest says, or none."""
    return next((file for file, expected in info.files.items() if not _is_file(folder / file, expected)), None)


def _is_whole(folder: Path, info: CheckpointInfo, manifest: bytes) -> bool:
    if not folder.is_dir() or first_altered(folder, info) is not None:
        return False
    if not (folder / MANIFEST).is_file() or (folder / MANIFEST).read_bytes() != manifest:
        return False
    with contextlib.suppress(OSError):  # somebody else's cache
        os.utime(folder)  # `trim` keeps what was used last
    return True


def _is_file(path: Path, expected: FileDigest) -> bool:
    return path.is_file() and path.stat().st_size == expected.size and digest_of_file(path) == expected


def _waiting(info: CheckpointInfo) -> PullProgress:
    return PullProgress(checkpoint=info.name, file="", done=0, total=info.size, waiting=True)


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


@contextlib.contextmanager
def _locked(folder: Path, name: str, *, report: Callable[[], object], wait: bool = True) -> Iterator[bool]:
    """Hold the lock of one checkpoint of a cache, or yield false; the kernel frees that of a killed process."""
    path = folder / f"{name}.lock"
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not wait:
                    yield False
                    return
                report()
                fcntl.flock(lock, fcntl.LOCK_EX)
            if os.fstat(lock).st_nlink == 0:
                continue  # its holder removed it: there may be a new one
            try:
                yield True
            finally:
                with contextlib.suppress(OSError):
                    path.unlink()
            return
        finally:
            os.close(lock)
