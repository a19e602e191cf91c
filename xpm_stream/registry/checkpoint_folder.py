"""Reading one checkpoint's folder: its manifest first, then files that must be what the manifest says."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from xpm_stream.errors import CheckpointError
from xpm_stream.registry.manifest import MANIFEST, CheckpointInfo, parse_manifest
from xpm_stream.registry.store import (
    MAX_RECORD_BYTES,
    FileTooLarge,
    NotListed,
    Store,
    digest_of,
    digest_of_file,
    open_store,
)

CHAMPION: Final = "champion"  # the revision that names no checkpoint by its own name
_LAST_NAMES: Final = 5  # so many are told to who asks for one that is not there


class CheckpointFolder:
    """A folder of a store that holds a checkpoint, or should."""

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._name = name
        self._prefix = f"{name}/"
        self._named: str | None = name

    @classmethod
    def alone(cls, url: str | Path) -> CheckpointFolder:
        """Return the folder at `url`, which may have another name than its checkpoint: a copy, in a cache say."""
        folder = cls(open_store(url), str(url).rstrip("/").rpartition("/")[2])
        folder._prefix, folder._named = "", None
        return folder

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return self._name

    @property
    def url(self) -> str:
        """Where it lies, without credentials."""
        return self._store.url if self._named is None else f"{self._store.url}/{self._name}"

    def manifest(self) -> bytes:
        """Return the bytes of its manifest.

        Raises:
            CheckpointError: it has none, so it is no checkpoint.
        """
        try:
            return self.manifest_if_there()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise CheckpointError(
                f"there is no checkpoint {self._name!r} in {self._store.url} ({self._others()})"
            ) from error

    def manifest_if_there(self) -> bytes:
        """Return the bytes of its manifest.

        Raises:
            FileNotFoundError, NotADirectoryError: it has none: an upload not finished, or just deleted.
            CheckpointError: it is larger than any manifest.
        """
        try:
            return self._store.read(f"{self._prefix}{MANIFEST}", max_bytes=MAX_RECORD_BYTES)
        except FileTooLarge as error:
            raise CheckpointError(f"{error}: delete this checkpoint") from error

    def parse(self, manifest: bytes) -> CheckpointInfo:
        """Return what a manifest says.

        Raises:
            CheckpointError: it is damaged, or of another checkpoint.
        """
        return parse_manifest(manifest, name=self._named, url=self._store.url)

    def info(self) -> CheckpointInfo:
        """Return what is known of the checkpoint.

        Raises:
            CheckpointError: there is none, or its manifest is damaged.
        """
        return self.parse(self.manifest())

    def read(self, *, verify: bool = True, only: Collection[str] | None = None) -> dict[str, bytes]:
        """Return its files: all, or those of `only` that it has.

        Raises:
            CheckpointError: there is none, or a file differs from its manifest.
        """
        contents: dict[str, bytes] = {}
        for file, expected in self.info().files.items():
            if only is not None and file not in only:
                continue
            try:
                contents[file] = self._store.read(f"{self._prefix}{file}", max_bytes=expected.size)
            except FileNotFoundError as error:
                raise self._file_gone(file) from error
            except FileTooLarge as error:
                raise self.altered(file) from error
            if verify and digest_of(contents[file]) != expected:
                raise self.altered(file)
        return contents

    def fetch(self, info: CheckpointInfo, file: str, target: Path, *, on_bytes: Callable[[int], object]) -> None:
        """Bring one file to the local path `target`, going on behind what is there, and check it.

        Raises:
            CheckpointError: it is missing, or differs from the manifest; then nothing of it stays.
            OSError: it could not be read or written; what has come stays.
        """
        expected = info.files[file]
        for begun in (True, False) if target.exists() else (False,):
            try:
                self._store.fetch(f"{self._prefix}{file}", target, size=expected.size, on_bytes=on_bytes)
                altered = digest_of_file(target) != expected
            except FileNotFoundError as error:
                raise self._file_gone(file) from error
            except FileTooLarge:
                altered = True
            if not altered:
                return
            target.unlink(missing_ok=True)
            if not begun:  # else the beginning may be what was damaged: once more from the start
                raise self.altered(file)

    def altered(self, file: str) -> CheckpointError:
        """Return the error for a file that is not what the manifest says."""
        return CheckpointError(
            f"{file} of checkpoint {self._name!r} in {self._store.url} differs from its sha256 in {MANIFEST}: "
            "the file was damaged or changed; use another checkpoint"
        )

    def _file_gone(self, file: str) -> CheckpointError:
        try:
            self.manifest_if_there()
        except FileNotFoundError:
            return CheckpointError(f"checkpoint {self._name!r} was deleted from {self._store.url} while it was read")
        return CheckpointError(
            f"{file} of checkpoint {self._name!r} in {self._store.url} is missing: use another checkpoint"
        )

    def _others(self) -> str:
        try:
            names = self._store.names("")
        except NotListed:
            return "the server does not list those that are there"
        # Who writes `champoin` thinks of what is no checkpoint's name, too.
        nearest = difflib.get_close_matches(self._name, [*names, CHAMPION], n=1)
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        return f"{hint}the last names there: {', '.join(names[-_LAST_NAMES:]) or 'none'}"
