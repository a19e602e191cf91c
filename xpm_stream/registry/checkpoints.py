"""Checkpoints: folders of named files that are visible only when whole and durable, checked by sha256 when read."""

from __future__ import annotations

import errno
import itertools
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from xpm_stream import crash_points
from xpm_stream.errors import CheckpointError
from xpm_stream.registry.checkpoint_folder import CheckpointFolder
from xpm_stream.registry.manifest import MANIFEST, CheckpointInfo, can_name, seal
from xpm_stream.registry.store import FileDigest, Store, open_store

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
        digests: dict[str, FileDigest] = {}
        writing = MANIFEST
        try:
            with self._store.draft(name) as draft:
                if name in self._store.names("") and self._has_manifest(name):
                    raise self._taken(name)
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
        return self.folder(name).read(verify=verify, only=only)

    def folder(self, name: str) -> CheckpointFolder:
        """Return the folder of a checkpoint, which need not be there.

        Raises:
            CheckpointError: no checkpoint can have this name.
        """
        _require_names(name, ())
        return CheckpointFolder(self._store, name)

    def info(self, name: str) -> CheckpointInfo:
        """Return what is known of one checkpoint.

        Raises:
            CheckpointError: there is none of that name, or its manifest is damaged.
        """
        return self.folder(name).info()

    def list(self) -> list[CheckpointInfo]:
        """Return all checkpoints, oldest first by (order, sequence).

        Raises:
            CheckpointError: a manifest is damaged.
        """
        found = []
        for name in self._store.names(""):
            folder = CheckpointFolder(self._store, name)
            try:
                manifest = folder.manifest_if_there()
            except (FileNotFoundError, NotADirectoryError):
                continue  # an upload not finished, or just deleted: not a checkpoint
            found.append(folder.parse(manifest))
        return sorted(found, key=lambda info: (info.order, info.sequence, info.name))

    def latest(self) -> CheckpointInfo | None:
        """Return the last of `list`, or none."""
        checkpoints = self.list()
        return checkpoints[-1] if checkpoints else None

    def whole_or_free(self, name: str) -> tuple[str, bool]:
        """Return `name` and whether its checkpoint is there.

        Where an object store holds half of it, of a writer that was killed (or is at work), the next of `name-2`,
        `name-3`, ... that is whole or free is taken instead.
        """
        names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
        for candidate in names:
            files = self._store.names(candidate)
            if MANIFEST in files or not files:
                return candidate, bool(files)
        raise AssertionError("there is no last number")

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

    def _taken(self, name: str) -> CheckpointError:
        if self._has_manifest(name):
            return CheckpointError(f"checkpoint {name!r} is already in {self.url}: choose another name")
        return CheckpointError(
            f"checkpoint {name!r} is half written in {self.url}, by a writer at work or killed: "
            "choose another name, or delete it if nobody is writing it"
        )

    def _not_written(self, name: str, file: str, error: OSError) -> CheckpointError:
        return CheckpointError(
            f"cannot write {file} of checkpoint {name!r} in {self.url}: {say_os_error(error)}. Nothing of it was kept; "
            "earlier checkpoints are whole"
        )


def _require_names(name: str, files: Collection[str] | Mapping[str, bytes | Path]) -> None:
    for text in (name, *files):
        if not can_name(text):
            raise CheckpointError(
                f"{text!r} cannot name a checkpoint or its file: use letters, digits, '.', '_', '-', at most 128"
            )
    if MANIFEST in files:
        raise CheckpointError(f"a checkpoint's files cannot include {MANIFEST}: it is written for you")
    for file, content in files.items() if isinstance(files, Mapping) else ():
        if isinstance(content, Path) and not content.is_file():
            raise CheckpointError(f"{file} of checkpoint {name!r} should come from {content}, which is not a file")


def say_os_error(error: OSError, *, elsewhere: str = "set registry.url to another disk") -> str:
    """Say what the system refused; of a full disk also what to do."""
    if error.errno not in _FULL:
        return str(error)
    return f"the disk is full or the quota is reached ({error.strerror}); free space, or {elsewhere}"
