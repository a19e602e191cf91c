"""Where the drift monitor keeps its work: numbered files in `drift/` of the registry, never overwritten."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

import msgspec

from xpm_stream.errors import DataError, RegistryError
from xpm_stream.monitoring.canary_labels import CanaryLabels, canary_labels_path, decode_canary_labels
from xpm_stream.monitoring.drift_records import WindowRecord, decode_window, encode_window
from xpm_stream.monitoring.drift_reference import DriftReference, decode_reference, encode_reference
from xpm_stream.monitoring.drift_thresholds import DriftThresholds, decode_thresholds

WINDOWS: Final = "drift/windows"
REFERENCES: Final = "drift/references"
THRESHOLDS: Final = "drift/thresholds"
_KEEP_MOVING: Final = 2  # references that follow the teacher; and thresholds, which can be calibrated again

State = TypeVar("State")


class Files(Protocol):
    """What is needed of the registry's store (`registry.store.Store`)."""

    @property
    def url(self) -> str:
        """Where it is."""
        ...

    def create(self, path: str, data: bytes) -> None:
        """Create a file exclusively."""
        ...

    def read(self, path: str) -> bytes:
        """Return a file's bytes."""
        ...

    def names(self, folder: str) -> list[str]:
        """Return what is in a folder."""
        ...

    def delete(self, path: str) -> None:
        """Delete a file."""
        ...


class DriftStore:
    """References, thresholds and window records of one run. Any number may read; one monitor writes."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._newest = 0  # number of the newest window known; 0: none yet
        self._oldest = 0  # the same of the oldest one kept, known to who writes

    # -- windows

    def add_window(self, record: WindowRecord, *, keep: int) -> None:
        """Write a window's record, and delete the oldest ones above `keep`.

        Raises:
            RegistryError: there is a record of this number already, or it cannot be written.
        """
        self._create(f"{WINDOWS}/{record.number:08d}.json", encode_window(record))
        if not self._oldest:
            self._oldest = min(self._window_numbers(), default=record.number)
        self._newest = record.number
        while self._newest - self._oldest >= keep:
            self._delete(f"{WINDOWS}/{self._oldest:08d}.json")
            self._oldest += 1

    def newest_window(self) -> WindowRecord | None:
        """Return the newest record, or none. Asked again, it looks only for newer ones.

        Raises:
            RegistryError: it is damaged, or of a newer release.
        """
        if not self._newest:
            self._newest = max(self._window_numbers(), default=0)
            if not self._newest:
                return None
        found = self._window(self._newest)
        while (newer := self._window(self._newest + 1)) is not None:
            self._newest, found = self._newest + 1, newer
        if found is None:  # deleted meanwhile: so many newer ones there are
            self._newest = 0
            return self.newest_window()
        return found

    def windows(self, *, most: int | None = None) -> list[WindowRecord]:
        """Return the records kept, oldest first; the newest `most` of them.

        Raises:
            RegistryError: one is damaged, or of a newer release.
        """
        numbers = self._window_numbers()
        wanted = numbers if most is None else numbers[max(0, len(numbers) - most) :]
        # One that is deleted meanwhile is left out.
        return [record for number in wanted if (record := self._window(number)) is not None]

    # -- references

    def reference(self, name: str) -> DriftReference | None:
        """Return the newest reference of a name, or none.

        Raises:
            RegistryError: it is damaged, or of a newer release.
        """
        return self._newest_state(REFERENCES, name, decode_reference)

    def add_reference(self, reference: DriftReference) -> None:
        """Write a reference as the newest of its name; older ones go, but for those frozen.

        Raises:
            RegistryError: another process wrote one at the same time, or it cannot be written.
        """
        self._add(REFERENCES, reference.name, encode_reference(reference), prune=reference.name != "frozen")

    def forget_reference(self, name: str) -> None:
        """Delete all references of a name: a monitor that starts makes a new one.

        Raises:
            RegistryError: they cannot be deleted.
        """
        for number in self._numbers(REFERENCES, name):
            self._delete(f"{REFERENCES}/{name}-{number:08d}.json")

    def thresholds(self, name: str) -> DriftThresholds | None:
        """Return the newest thresholds of a reference of this name, or none; `bins_id` says of which.

        Raises:
            RegistryError: they are damaged, or of a newer release.
        """
        return self._newest_state(THRESHOLDS, name, decode_thresholds)

    def add_thresholds(self, name: str, thresholds: DriftThresholds) -> None:
        """Write thresholds as the newest of a reference's name.

        Raises:
            RegistryError: another process wrote some at the same time, or they cannot be written.
        """
        self._add(THRESHOLDS, name, msgspec.json.encode(thresholds), prune=True)

    # -- canary labels, which the promoter writes

    def canary_labels(self, checkpoint: str) -> CanaryLabels | None:
        """Return what a checkpoint says of the canary set, or none if it was not asked.

        Raises:
            RegistryError: they are damaged, or of a newer release.
        """
        return self._read(canary_labels_path(checkpoint), decode_canary_labels)

    # --

    def _window_numbers(self) -> list[int]:
        return [int(found[1]) for name in self._files.names(WINDOWS) if (found := re.fullmatch(r"(\d{8})\.json", name))]

    def _window(self, number: int) -> WindowRecord | None:
        return self._read(f"{WINDOWS}/{number:08d}.json", decode_window)

    def _numbers(self, folder: str, name: str) -> list[int]:
        pattern = re.compile(rf"{re.escape(name)}-(\d{{8}})\.json")
        return [int(found[1]) for file in self._files.names(folder) if (found := pattern.fullmatch(file))]

    def _newest_state(self, folder: str, name: str, decode: Callable[[bytes], State]) -> State | None:
        number = max(self._numbers(folder, name), default=0)
        return self._read(f"{folder}/{name}-{number:08d}.json", decode) if number else None

    def _add(self, folder: str, name: str, data: bytes, *, prune: bool) -> None:
        numbers = self._numbers(folder, name)
        number = max(numbers, default=0) + 1
        self._create(f"{folder}/{name}-{number:08d}.json", data)
        for old in numbers if prune else ():
            if old <= number - _KEEP_MOVING:
                self._delete(f"{folder}/{name}-{old:08d}.json")

    def _create(self, path: str, data: bytes) -> None:
        try:
            self._files.create(path, data)
        except FileExistsError as error:
            raise RegistryError(
                f"another drift monitor wrote {path} in {self._files.url} first: a run has one monitor, end one of them"
            ) from error
        except OSError as error:
            raise RegistryError(f"cannot write {path} in {self._files.url}: {error}") from error

    def _delete(self, path: str) -> None:
        try:
            self._files.delete(path)
        except OSError as error:
            raise RegistryError(f"cannot delete {path} in {self._files.url}: {error}") from error

    def _read(self, path: str, decode: Callable[[bytes], State]) -> State | None:
        try:
            return decode(self._files.read(path))
        except FileNotFoundError:
            return None
        except DataError as error:
            raise RegistryError(
                f"{path} in {self._files.url}: {error}; delete it, or restore it from a backup"
            ) from error
