"""Bringing a checkpoint of any registry into a cache of this machine."""

from __future__ import annotations

import contextlib
import errno
import logging
from pathlib import Path
from typing import Final

import msgspec

from xpm_stream.config.user_cache import user_cache
from xpm_stream.errors import CheckpointError, RegistryError
from xpm_stream.registry.cache import DECISIONS, CheckpointCache, OnProgress, PullProgress, first_altered
from xpm_stream.registry.checkpoint_folder import CHAMPION, CheckpointFolder
from xpm_stream.registry.holds import Holds
from xpm_stream.registry.promotion_log import PromotionLog
from xpm_stream.registry.revisions import Revision, Source, find_revision, find_source, info_of, reading

__all__ = ["CHAMPION", "PullProgress", "default_cache", "pull_checkpoint"]

_LOOKS: Final = 3
_log: Final = logging.getLogger(__name__)


def pull_checkpoint(
    url: str | Path,
    revision: str | int = CHAMPION,
    cache: str | Path | None = None,
    on_progress: OnProgress | None = None,
) -> Path:
    """Return a local folder with a checkpoint's files, checked by sha256; bring what is not in the cache yet.

    Of a checkpoint in the cache already only the manifest is read, and the promotion log: what was decided on it, with
    every gate's figures, comes beside its files as `decisions.json`. One that lies alone in a local folder is checked
    and returned where it is.

    Args:
        url: a run folder, its configuration, a registry's URL, or the URL of one checkpoint's folder.
        revision: `champion`, the number of an entry of the promotion log, or a checkpoint's name.
        cache: folder to bring it to; none: `default_cache()`. Any number of processes may share one.
        on_progress: called with how far it is.

    Raises:
        RegistryError: the URL is no registry, cannot be read, or has no such revision.
        CheckpointError: the checkpoint is removed or damaged, or the cache cannot be written.
        ConfigError: the run's configuration cannot be used.
    """
    with reading(url):
        source = find_source(url)
        if source.alone is not None and source.is_local:
            return _checked(source.folder(Revision(source.alone)), Path(source.url))
        copies = CheckpointCache(cache or default_cache())
        found = find_revision(source, revision)
        for _ in range(_LOOKS - 1):
            try:
                return _bring(source, found, copies, on_progress)
            except CheckpointError:
                # The champion is never removed, but it may be the champion no more: then the log names another.
                before, found = found, find_revision(source, revision)
                if found.checkpoint == before.checkpoint:
                    raise
        return _bring(source, found, copies, on_progress)


def default_cache() -> Path:
    """Return the user's cache of checkpoints: `$XPM_STREAM_CACHE/checkpoints`, else below the system's cache folder."""
    return user_cache("checkpoints")


def _checked(source: CheckpointFolder, folder: Path) -> Path:
    altered = first_altered(folder, source.info())
    if altered is not None:
        raise source.altered(altered)
    return folder.absolute()


def _bring(source: Source, revision: Revision, copies: CheckpointCache, on_progress: OnProgress | None) -> Path:
    with contextlib.ExitStack() as held:
        if source.alone is None:
            _lease_if_allowed(source, revision, held)
        try:
            folder = copies.bring(source.folder(revision), on_progress=on_progress)
        except CheckpointError:
            info_of(source, revision)  # says it better if it was removed
            raise
    if source.alone is None:
        entries = [entry for entry in PromotionLog(source.url).entries() if entry.checkpoint == revision.checkpoint]
        if entries:
            copies.write_beside(folder, DECISIONS, msgspec.json.format(msgspec.json.encode(entries), indent=2) + b"\n")
    return folder


def _lease_if_allowed(source: Source, revision: Revision, held: contextlib.ExitStack) -> None:
    """Keep the checkpoint from being removed; who may only read has `registry.remove_after_s` / 2 instead."""
    try:
        held.enter_context(Holds(source.url).lease(revision.checkpoint))
    except CheckpointError:
        raise
    except (RegistryError, PermissionError) as error:
        _log.info("reading %s without a lease: %s", revision.checkpoint, error)
    except OSError as error:
        level = logging.INFO if error.errno == errno.EROFS else logging.WARNING  # else it should have been possible
        _log.log(level, "reading %s without a lease: %s", revision.checkpoint, error)
