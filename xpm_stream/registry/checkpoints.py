"""Checkpoints: folders of named files that are visible only when whole and durable, checked by sha256 when read."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from xpm_stream.registry.store import FileDigest, Store, open_store


class CheckpointInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a checkpoint without reading its files (its `manifest.json`)."""

    name: str
    order: tuple[int, ...]  # e.g. (epoch, step): the highest is the latest, whatever the clocks say
    sequence: int  # breaks ties of `order`: grows with every checkpoint of the store
    created_at_s: float  # Unix time
    metadata: dict[str, Any]  # JSON values
    files: dict[str, FileDigest]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(digest.size for digest in self.files.values())


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
            name: letters, digits, `.`, `_`, `-`; unique in the store.
            files: file name -> content, or a local file holding it.
            metadata: JSON values, returned by `list` without reading the files.
            order: what `latest` and `prune` sort by, e.g. (epoch, step).

        Raises:
            CheckpointError: the name is taken or unusable, or the files could not be written (a full disk says so);
                what had been written is removed.
        """
        raise NotImplementedError

    def read(self, name: str, *, verify: bool = True) -> dict[str, bytes]:
        """Return all files of a checkpoint.

        Raises:
            CheckpointError: there is none of that name, or a file differs from its manifest.
        """
        raise NotImplementedError

    def open_local(self, name: str, cache: str | Path) -> Path:
        """Bring a checkpoint into the folder `cache`, check it, and return its local folder.

        Several processes may share a cache. A copy already there is checked and used; a damaged one is brought again.
        The folder stays usable when the checkpoint is pruned from the store.

        Raises:
            CheckpointError: there is none of that name, or a file differs from its manifest.
        """
        raise NotImplementedError

    def info(self, name: str) -> CheckpointInfo:
        """Return what is known of one checkpoint.

        Raises:
            CheckpointError: there is none of that name, or its manifest is damaged.
        """
        raise NotImplementedError

    def list(self) -> list[CheckpointInfo]:
        """Return all checkpoints, oldest first by (order, sequence).

        Raises:
            CheckpointError: a manifest is damaged.
        """
        raise NotImplementedError

    def latest(self) -> CheckpointInfo | None:
        """Return the last of `list`, or none."""
        checkpoints = self.list()
        return checkpoints[-1] if checkpoints else None

    def delete(self, name: str) -> None:
        """Remove a checkpoint; readers see all of it or nothing.

        Raises:
            CheckpointError: there is none of that name.
        """
        raise NotImplementedError

    def prune(self, *, keep: int, pinned: Collection[str] = ()) -> list[str]:
        """Remove all but the `keep` latest checkpoints and those named in `pinned`; return the removed names.

        Raises:
            ValueError: `keep` is below 1.
        """
        raise NotImplementedError
