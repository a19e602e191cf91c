"""What keeps a checkpoint from being removed (readers' leases, people's pins), and the marks of those that will be.

Each is a small file of its own, created exclusively, below the registry's URL: `leases/ID.json`,
`pins/CHECKPOINT.json`, `removals/CHECKPOINT.json`. A reader writes its lease and then looks for a mark; a collector
writes the mark, waits, and then looks for leases. Whichever was first is seen by the other, so a checkpoint is never
removed from under a lease.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from xpm_stream.errors import CheckpointError, RegistryError
from xpm_stream.registry.store import MAX_RECORD_BYTES, Store, open_store
from xpm_stream.registry.stored_records import SCHEMA_VERSION, decode_record

_log: Final = logging.getLogger(__name__)

LEASE_TTL_S: Final = 600.0
_RENEWALS_PER_LEASE: Final = 3
_CLOCKS_DIFFER_S: Final = 60.0  # a lease counts for so much longer than it says


class ReadLease(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody reads this checkpoint."""

    schema_version: int = SCHEMA_VERSION
    checkpoint: str
    holder: str  # for people: host and process
    expires_at_s: float  # Unix time


class Pin(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody wants this checkpoint kept."""

    schema_version: int = SCHEMA_VERSION
    checkpoint: str
    by: str
    reason: str
    created_at_s: float  # Unix time


class Removal(msgspec.Struct, frozen=True, kw_only=True):
    """This checkpoint will be removed."""

    schema_version: int = SCHEMA_VERSION
    checkpoint: str
    why: str
    marked_at_s: float  # Unix time
    not_before_s: float  # Unix time

    @property
    def refuses_from_s(self) -> float:
        """From then on nobody begins to read it: half-way, so that clocks may differ by the other half."""
        return (self.marked_at_s + self.not_before_s) / 2


_Record = TypeVar("_Record", ReadLease, Pin, Removal)


class Holds:
    """Leases, pins and removal marks of the checkpoints below one registry's URL."""

    def __init__(self, url: str | Path | Store, *, clock: Callable[[], float] = time.time) -> None:
        self._store: Store = open_store(url) if isinstance(url, str | Path) else url
        self._clock = clock

    # -- readers

    @contextmanager
    def lease(self, checkpoint: str, *, ttl_s: float = LEASE_TTL_S) -> Iterator[None]:
        """Keep a checkpoint from being removed while the block runs, however long; a thread renews the lease.

        Take it before the checkpoint's first file is read. A process that dies holds it for `ttl_s` more.

        Raises:
            CheckpointError: it is about to be removed: choose another.
            RegistryError, OSError: the registry cannot be written.
        """
        ended = threading.Event()
        path = self._write_lease(checkpoint, ttl_s)
        renewing: threading.Thread | None = None

        def renew() -> None:
            nonlocal path
            while not ended.wait(ttl_s / _RENEWALS_PER_LEASE):
                try:
                    older, path = path, self._write_lease(checkpoint, ttl_s)
                    self._store.delete(older)
                except (OSError, RegistryError) as error:  # the lease still holds for a while: try again
                    _log.warning("cannot renew the lease of %s: %s", checkpoint, error)

        try:
            self._require_staying(checkpoint)
            renewing = threading.Thread(target=renew, name="checkpoint lease", daemon=True)
            renewing.start()
            yield
        finally:
            ended.set()
            if renewing is not None:
                renewing.join()
            try:
                self._store.delete(path)
            except OSError as error:  # what was read is read; the lease ends by itself
                _log.warning("cannot take back the lease of %s, it ends by itself: %s", checkpoint, error)

    def leased(self) -> dict[str, str]:
        """Return the checkpoints that somebody reads now, with who; what has long expired is deleted.

        Raises:
            RegistryError: a lease is damaged.
        """
        found: dict[str, str] = {}
        for path, lease in self._read_all("leases", ReadLease):
            if lease.expires_at_s + _CLOCKS_DIFFER_S < self._clock():
                self._store.delete(path)
            else:
                found[lease.checkpoint] = lease.holder
        return found

    # -- people

    def pin(self, checkpoint: str, *, by: str, reason: str) -> None:
        """Keep a checkpoint until it is unpinned; pinned already: nothing changes.

        Raises:
            CheckpointError: it is about to be removed.
        """
        pin = Pin(checkpoint=checkpoint, by=by, reason=reason, created_at_s=self._clock())
        if self._create(_path("pins", checkpoint), pin):
            try:
                self._require_staying(checkpoint)
            except CheckpointError:
                self.unpin(checkpoint)
                raise

    def unpin(self, checkpoint: str) -> None:
        """Let a checkpoint be removed again when its time comes."""
        self._store.delete(_path("pins", checkpoint))

    def pins(self) -> dict[str, Pin]:
        """Return the pins, by checkpoint."""
        return {pin.checkpoint: pin for _, pin in self._read_all("pins", Pin)}

    # -- collectors

    def mark(self, checkpoint: str, *, why: str, remove_after_s: float) -> None:
        """Say that a checkpoint will be removed; marked already: nothing changes."""
        now = self._clock()
        mark = Removal(checkpoint=checkpoint, why=why, marked_at_s=now, not_before_s=now + remove_after_s)
        self._create(_path("removals", checkpoint), mark)

    def unmark(self, checkpoint: str) -> None:
        """Say that a checkpoint is removed, or stays."""
        self._store.delete(_path("removals", checkpoint))

    def marks(self) -> dict[str, Removal]:
        """Return the marks, by checkpoint."""
        return {mark.checkpoint: mark for _, mark in self._read_all("removals", Removal)}

    # -- files

    def _require_staying(self, checkpoint: str) -> None:
        mark = self._read(_path("removals", checkpoint), Removal)
        if mark is not None and self._clock() >= mark.refuses_from_s:
            raise CheckpointError(
                f"checkpoint {checkpoint!r} of {self._store.url} is being removed ({mark.why}): choose another, "
                "such as the champion"
            )

    def _write_lease(self, checkpoint: str, ttl_s: float) -> str:
        path = f"leases/{uuid.uuid4().hex}.json"
        holder = f"{socket.gethostname()} process {os.getpid()}"
        self._create(path, ReadLease(checkpoint=checkpoint, holder=holder, expires_at_s=self._clock() + ttl_s))
        return path

    def _create(self, path: str, record: ReadLease | Pin | Removal) -> bool:
        try:
            self._store.create(path, msgspec.json.format(msgspec.json.encode(record)) + b"\n")
        except FileExistsError:
            return False
        return True

    def _read_all(self, folder: str, kind: type[_Record]) -> Iterator[tuple[str, _Record]]:
        for name in self._store.names(folder):
            record = self._read(f"{folder}/{name}", kind)
            if record is not None:
                yield f"{folder}/{name}", record

    def _read(self, path: str, kind: type[_Record]) -> _Record | None:
        try:
            data = self._store.read(path, max_bytes=MAX_RECORD_BYTES)
        except FileNotFoundError:
            return None  # deleted since it was listed
        return decode_record(data, kind, path=path, url=self._store.url, if_damaged="delete it")


def _path(folder: str, checkpoint: str) -> str:
    if "/" in checkpoint or checkpoint.startswith("."):
        raise CheckpointError(f"{checkpoint!r} is no name of a checkpoint")
    return f"{folder}/{checkpoint}.json"
