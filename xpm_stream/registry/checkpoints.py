"""Checkpoints: folders of named files that are visible only when whole and durable, checked by sha256 when read."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from xpm_stream import crash_points
from xpm_stream.errors import CheckpointError
from xpm_stream.registry.local_store import locked_scratch, make_folder, remove_leftovers
from xpm_stream.registry.manifest import MANIFEST, CheckpointInfo, parse_manifest, seal
from xpm_stream.registry.store import (
    MAX_RECORD_BYTES,
    FileDigest,
    FileTooLarge,
    Store,
    digest_of,
    digest_of_file,
    open_store,
)

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class CheckpointStore:
    """Checkpoints below one fsspec URL, each a flat folder of files with a sha256 manifest.

    Used for the trainer's resume checkpoints and for teachers and candidates; it knows nothing of tensors.
    """

    def __init__(self, url: str | Path | Store, *, clock: Callable[[], float] = time.time) -> None:
        self._store: Store = open_store(url) if isinstance(url, str | Path) else url
        self._clock = clock

    @property
    def url(self) -> str:
        """Where the checkpoints are, without credentials."""
        return self._store.url

    def write(
        self,
        name: str,
        files: Mapping[str, bytes | Path],
        *,
        metadata: Mapping[str, Any] | None = None,
        order: Sequence[int] = (),
    ) -> CheckpointInfo:
        """Write a checkpoint; when this returns it is durable, and before that nobody sees any of it.

        Args:
            name: letters, digits, `.`, `_`, `-`. Make it unique to the attempt, epoch included: in an object store a
                killed writer leaves an invisible half that keeps its name until `delete`.
            files: file name -> content, or a local file holding it.
            metadata: JSON values, returned by `list` without reading the files; NaN becomes null.
            order: what `latest` and `prune` sort by, e.g. (epoch, step).

        Raises:
            CheckpointError: the name is taken or unusable, or the files could not be written (a full disk says so);
                what had been written is removed.
            RegistryError: the backend cannot create atomically.
        """
        _require_names(name, files)
        if name in self._store.names("") and self._has_manifest(name):
            raise self._taken(name)
        digests: dict[str, FileDigest] = {}
        writing = MANIFEST
        try:
            with self._store.draft(name) as draft:
                for writing, content in files.items():
                    digests[writing] = draft.put(writing, content)
                    if len(digests) == 1:
                        crash_points.reach("checkpoint.after_first_file")
                writing = MANIFEST
                info, manifest = seal(
                    CheckpointInfo(
                        name=name,
                        order=tuple(order),
                        sequence=self._next_sequence(),
                        created_at_s=self._clock(),
                        metadata=dict(metadata or {}),
                        files=digests,
                    )
                )
                crash_points.reach("checkpoint.before_publish")
                draft.publish(MANIFEST, manifest)
        except FileExistsError as error:
            raise self._taken(name) from error
        except OSError as error:
            raise self._not_written(name, writing, error) from error
        return info

    def read(self, name: str, *, verify: bool = True, only: Collection[str] | None = None) -> dict[str, bytes]:
        """Return the files of a checkpoint: all, or those of `only` that it has.

        Raises:
            CheckpointError: there is none of that name, or a file differs from its manifest.
        """
        info = self.info(name)
        contents: dict[str, bytes] = {}
        for file, expected in info.files.items():
            if only is not None and file not in only:
                continue
            try:
                contents[file] = self._store.read(f"{name}/{file}", max_bytes=expected.size)
            except FileNotFoundError as error:
                raise self._file_gone(name, file) from error
            except FileTooLarge as error:
                raise self._altered(name, file) from error
            if verify and digest_of(contents[file]) != expected:
                raise self._altered(name, file)
        return contents

    def open_local(self, name: str, cache: str | Path) -> Path:
        """Bring a checkpoint into the folder `cache`, check it, and return its local folder.

        Several processes may share a cache. A copy already there is checked and used; a damaged one is brought again.
        The folder stays usable when the checkpoint is pruned from the store. Do not change files in it: with a local
        store they are the store's own (hard links).

        Raises:
            CheckpointError: there is none of that name, a file differs from its manifest, or the cache cannot be
                written.
        """
        info = self.info(name)
        target = Path(cache) / f"{name}@{info.digest[:16]}"
        staging = Path(cache) / ".incoming"
        try:
            make_folder(staging)
            remove_leftovers(staging)
            if target.is_dir():
                if _first_altered(target, info.files) is None:
                    os.utime(target)  # `trim_cache` keeps what was used last
                    return target
                with locked_scratch(staging) as scratch:
                    target.rename(scratch / "damaged")
            with locked_scratch(staging) as scratch:
                self._fetch_all(info, scratch / "folder")
                _rename_unless_there(scratch / "folder", target)
        except OSError as error:
            raise CheckpointError(
                f"cannot bring checkpoint {name!r} of {self.url} into the cache {cache}: {_say(error)}"
            ) from error
        return target

    def info(self, name: str) -> CheckpointInfo:
        """Return what is known of one checkpoint.

        Raises:
            CheckpointError: there is none of that name, or its manifest is damaged.
        """
        _require_names(name, ())
        try:
            data = self._read_manifest(name)
        except FileNotFoundError as error:
            known = ", ".join(self._store.names("")[-5:]) or "none"
            raise CheckpointError(
                f"there is no checkpoint {name!r} in {self.url} (the last names there: {known})"
            ) from error
        return parse_manifest(data, name=name, url=self.url)

    def list(self) -> list[CheckpointInfo]:
        """Return all checkpoints, oldest first by (order, sequence).

        Raises:
            CheckpointError: a manifest is damaged.
        """
        found = []
        for name in self._store.names(""):
            try:
                data = self._read_manifest(name)
            except (FileNotFoundError, NotADirectoryError):
                continue  # an upload not finished, or just deleted: not a checkpoint
            found.append(parse_manifest(data, name=name, url=self.url))
        return sorted(found, key=lambda info: (info.order, info.sequence, info.name))

    def latest(self) -> CheckpointInfo | None:
        """Return the last of `list`, or none."""
        checkpoints = self.list()
        return checkpoints[-1] if checkpoints else None

    def delete(self, name: str) -> None:
        """Remove a checkpoint, or what a killed writer left of it; readers see all of it or nothing.

        Raises:
            CheckpointError: there is none of that name.
        """
        _require_names(name, ())
        try:
            self._store.delete_folder(name, first=MANIFEST)
        except FileNotFoundError as error:
            raise CheckpointError(f"there is no checkpoint {name!r} in {self.url} to delete") from error

    def prune(self, *, keep: int, pinned: Collection[str] = ()) -> tuple[str, ...]:
        """Remove all but the `keep` latest checkpoints and those named in `pinned`; return the removed names.

        Raises:
            ValueError: `keep` is below 1.
            CheckpointError: a manifest is damaged.
        """
        if keep < 1:
            raise ValueError(f"keep must be at least 1, not {keep}: the last checkpoint is never removed")
        removed = []
        for info in self.list()[:-keep]:
            if info.name not in pinned:
                try:
                    self._store.delete_folder(info.name, first=MANIFEST)
                except FileNotFoundError:
                    continue  # another process pruned it
                removed.append(info.name)
        return tuple(removed)

    def _read_manifest(self, name: str) -> bytes:
        try:
            return self._store.read(f"{name}/{MANIFEST}", max_bytes=MAX_RECORD_BYTES)
        except FileTooLarge as error:
            raise CheckpointError(f"{error}: delete this checkpoint") from error

    def _has_manifest(self, name: str) -> bool:
        return MANIFEST in self._store.names(name)

    def _next_sequence(self) -> int:
        # Damaged manifests do not stop training from being saved; `list` reports them.
        highest = 0
        for name in self._store.names(""):
            try:
                highest = max(highest, self.info(name).sequence)
            except (CheckpointError, NotADirectoryError):
                continue
        return highest + 1

    def _fetch_all(self, info: CheckpointInfo, folder: Path) -> None:
        folder.mkdir()
        for file in (*info.files, MANIFEST):
            try:
                self._store.fetch(f"{info.name}/{file}", folder / file)
            except FileNotFoundError as error:
                raise self._file_gone(info.name, file) from error
        altered = _first_altered(folder, info.files)
        if altered is not None:
            raise self._altered(info.name, altered)

    def _taken(self, name: str) -> CheckpointError:
        if self._has_manifest(name):
            return CheckpointError(f"checkpoint {name!r} is already in {self.url}: choose another name")
        return CheckpointError(
            f"checkpoint {name!r} is half written in {self.url}, by a writer at work or killed: "
            "choose another name, or delete it if nobody is writing it"
        )

    def _not_written(self, name: str, file: str, error: OSError) -> CheckpointError:
        return CheckpointError(
            f"cannot write {file} of checkpoint {name!r} in {self.url}: {_say(error)}. Nothing of it was kept; "
            "earlier checkpoints are whole"
        )

    def _altered(self, name: str, file: str) -> CheckpointError:
        return CheckpointError(
            f"{file} of checkpoint {name!r} in {self.url} differs from its sha256 in {MANIFEST}: "
            "the file was damaged or changed; use another checkpoint"
        )

    def _file_gone(self, name: str, file: str) -> CheckpointError:
        if self._has_manifest(name):
            return CheckpointError(f"{file} of checkpoint {name!r} in {self.url} is missing: use another checkpoint")
        return CheckpointError(f"checkpoint {name!r} was deleted from {self.url} while it was read")


def trim_cache(cache: str | Path, *, keep: int) -> list[str]:
    """Remove all but the `keep` last used checkpoints of a cache of `open_local`; return the removed folders' names.

    Raises:
        ValueError: `keep` is below 1.
    """
    if keep < 1:
        raise ValueError(f"keep must be at least 1, not {keep}: the checkpoint in use is never removed")
    staging = Path(cache) / ".incoming"
    make_folder(staging)
    folders = sorted(Path(cache).glob("*@*"), key=lambda folder: folder.stat().st_mtime_ns)
    for folder in folders[:-keep]:
        with locked_scratch(staging) as scratch:
            folder.rename(scratch / "removed")
    return [folder.name for folder in folders[:-keep]]


def _require_names(name: str, files: Collection[str] | Mapping[str, bytes | Path]) -> None:
    for text in (name, *files):
        if not _NAME.fullmatch(text):
            raise CheckpointError(
                f"{text!r} cannot name a checkpoint or its file: use letters, digits, '.', '_', '-', at most 128"
            )
    if MANIFEST in files:
        raise CheckpointError(f"a checkpoint's files cannot include {MANIFEST}: it is written for you")
    for file, content in files.items() if isinstance(files, Mapping) else ():
        if isinstance(content, Path) and not content.is_file():
            raise CheckpointError(f"{file} of checkpoint {name!r} should come from {content}, which is not a file")


def _first_altered(folder: Path, files: Mapping[str, FileDigest]) -> str | None:
    for file, expected in files.items():
        if not (folder / file).is_file() or digest_of_file(folder / file) != expected:
            return file
    return None


def _rename_unless_there(folder: Path, target: Path) -> None:
    try:
        folder.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise  # else another process brought the same content first


def _say(error: OSError) -> str:
    if error.errno not in _FULL:
        return str(error)
    return (
        f"the disk is full or the quota is reached ({error.strerror}); free space, or set registry.url to another disk"
    )
