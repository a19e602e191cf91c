"""Finding checkpoints by what people have: a run folder, its configuration, a registry's URL, or a checkpoint's own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from xpm_stream.config import config_of_run, load_config
from xpm_stream.errors import CheckpointError, ConfigError, RegistryError
from xpm_stream.registry.checkpoint_folder import CHAMPION, CheckpointFolder
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.registry.local_store import LocalStore
from xpm_stream.registry.manifest import MANIFEST, CheckpointInfo
from xpm_stream.registry.promotion_log import PromotionEntry, PromotionLog
from xpm_stream.registry.store import MAX_RECORD_BYTES, open_store, without_credentials


@dataclass(frozen=True, slots=True)
class Revision:
    """One checkpoint, and the entry of the promotion log it was asked for by."""

    checkpoint: str
    entry: PromotionEntry | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Where checkpoints come from: a registry, or one folder of a checkpoint."""

    url: str  # of the registry, or of the checkpoint
    alone: str | None = None  # name of the checkpoint

    @property
    def shown(self) -> str:
        """The URL, without credentials."""
        return without_credentials(self.url)

    @property
    def checkpoints(self) -> CheckpointStore:
        """The checkpoints of the registry."""
        return CheckpointStore(f"{self.url}/checkpoints")

    @property
    def is_local(self) -> bool:
        """Whether the files are on a disk of this machine."""
        return isinstance(open_store(self.url), LocalStore)

    def folder(self, revision: Revision) -> CheckpointFolder:
        """Return where the files of a revision are, or should be."""
        if self.alone is not None:
            return CheckpointFolder.alone(self.url)
        return self.checkpoints.folder(revision.checkpoint)


def find_source(url: str | Path) -> Source:
    """Return where the checkpoints of `url` are: a run folder, a configuration, a registry, or a checkpoint's folder.

    Raises:
        RegistryError: it is none of these, or cannot be read.
        ConfigError: the configuration cannot be used.
    """
    text = str(url).rstrip("/")
    if not text:
        raise RegistryError("no place is named: give a run folder, a registry's URL, or either with @REVISION")
    if "://" in text or text.startswith("~"):
        store = open_store(text)
        text = store.url if isinstance(store, LocalStore) else text  # a path, which the system understands
    if _has(text, MANIFEST):
        return Source(text, alone=CheckpointFolder.alone(text).info().name)
    path = Path(text)
    if (path / "config.yaml").is_file():  # the folder may have been moved: what it holds counts, not where it was
        return Source(_registry_of_run(path))
    if path.is_file():
        if (path.parent / MANIFEST).is_file():
            raise RegistryError(f"{path} is one file of a checkpoint: name its folder, {path.parent}")
        config = load_config(path)
        return Source(config.registry.url or str(Path(config.folder or Path("runs") / config.name) / "registry"))
    for root in (text, f"{text}/registry"):
        if _has(root, "promotions/00000001.json") or _has(root, "candidates/00000001.json"):
            return Source(root)
    _, at, revision = text.rpartition("@")
    hint = f"; revision {revision!r} is said by itself (--revision)" if at and "/" not in revision else ""
    raise RegistryError(
        f"{without_credentials(text)} is no run folder (config.yaml), no registry (promotions/00000001.json), and no "
        f"checkpoint ({MANIFEST}): give one of these{hint}"
    )


def _registry_of_run(folder: Path) -> str:
    beside = folder / "registry"
    try:
        return config_of_run(folder).registry.url or str(beside)
    except ConfigError as error:
        hint = f"; to read its checkpoints all the same, name {beside}" if beside.is_dir() else ""
        raise ConfigError(f"{error}{hint}") from error


def split_revision(text: str) -> tuple[str, str]:
    """Split `URL@REVISION`, where either may be missing: an empty URL, or the champion."""
    url, at, revision = text.rpartition("@")
    if not at or "/" in revision or Path(text).exists():  # s3://key@bucket/run, or a copy in a cache: NAME@DIGEST
        return text, CHAMPION
    if "://" in text:  # such a copy elsewhere, or a bucket's folder of that name
        with contextlib.suppress(RegistryError, OSError):
            find_source(text)
            return text, CHAMPION
    return url, revision or CHAMPION


def find_revision(source: Source, revision: str | int = CHAMPION) -> Revision:
    """Return which checkpoint `revision` means: `champion`, the number of an entry of the log, or a name.

    Raises:
        RegistryError: there is no such entry, or no champion yet.
    """
    text = str(revision)
    if source.alone is not None:
        if text not in (CHAMPION, source.alone):
            raise RegistryError(f"{source.shown} is one checkpoint ({source.alone}), which has no revision {text!r}")
        return Revision(source.alone)
    log = PromotionLog(source.url)
    if text == CHAMPION:
        champion = log.champion()
        if champion is None:
            waiting = ", ".join(one.checkpoint for one in log.pending_candidates()[-3:]) or "none"
            raise RegistryError(
                f"no teacher of {source.shown} is promoted yet (candidates: {waiting}); name a checkpoint, or wait"
            )
        return Revision(champion.checkpoint, champion)
    if text.isdecimal():
        entries = log.entries()
        if not 1 <= int(text) <= len(entries):
            raise RegistryError(f"{source.shown} has no entry {text}: its log has entries 1 to {len(entries)}")
        return Revision(entries[int(text) - 1].checkpoint, entries[int(text) - 1])
    return Revision(text)


def info_of(source: Source, revision: Revision) -> CheckpointInfo:
    """Return the manifest of a revision.

    Raises:
        CheckpointError: its files are removed, or were never there, or are damaged.
    """
    folder = source.folder(revision)
    try:
        return folder.parse(folder.manifest_if_there())
    except (FileNotFoundError, NotADirectoryError) as error:
        if revision.entry is None:
            return folder.info()  # says what there is
        raise CheckpointError(
            f"checkpoint {revision.checkpoint!r} of entry {revision.entry.number} is not in {source.shown} any more: "
            "it was removed (registry.keep_*); the champion is always there"
        ) from error


@contextlib.contextmanager
def reading(url: str | Path) -> Iterator[None]:
    """Turn the system's errors while a registry is read into one that names it.

    Raises:
        RegistryError: it cannot be read.
    """
    try:
        yield
    except OSError as error:
        shown = without_credentials(str(url))
        why = str(error)
        for store in (shown, f"{shown}/registry"):
            why = why.removeprefix(f"cannot reach {store}: ")  # else it would be named twice
        raise RegistryError(f"cannot read {shown}: {why}") from error


def _has(root: str, path: str) -> bool:
    try:
        open_store(root).read(path, max_bytes=MAX_RECORD_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
