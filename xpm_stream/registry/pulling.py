"""Bringing a checkpoint of any registry into a cache of this machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from xpm_stream.errors import CheckpointError, RegistryError
from xpm_stream.registry.holds import Holds
from xpm_stream.registry.revisions import CHAMPION, find_revision, find_source


@dataclass(frozen=True, slots=True, kw_only=True)
class PullProgress:
    """How far a pull is."""

    checkpoint: str
    file: str  # being brought
    done: int  # bytes of the checkpoint that are here
    total: int  # bytes of the checkpoint


def pull_checkpoint(
    url: str | Path,
    revision: str | int = CHAMPION,
    cache: str | Path | None = None,
    on_progress: Callable[[PullProgress], None] | None = None,
) -> Path:
    """Return a local folder with a checkpoint's files, checked by sha256; bring what is not in the cache yet.

    Args:
        url: a run folder, its configuration, a registry's URL, or the URL of one checkpoint's folder.
        revision: `champion`, the number of an entry of the promotion log, or a checkpoint's name.
        cache: folder to bring it to; none: `default_cache()`.
        on_progress: called with how far it is.

    Raises:
        RegistryError: the URL is no registry, or has no such revision.
        CheckpointError: the checkpoint is removed or damaged, or the cache cannot be written.
        ConfigError: the run's configuration cannot be used.
    """
    source = find_source(url)
    name = find_revision(source, revision).checkpoint
    with contextlib.ExitStack() as held:
        if source.alone is None:
            try:
                held.enter_context(Holds(source.url).lease(name))
            except CheckpointError:
                raise
            except (RegistryError, OSError):
                pass  # who may only read has no lease
        return source.checkpoints.open_local(name, cache or default_cache())


def default_cache() -> Path:
    """Return the user's cache of checkpoints: `$XPM_STREAM_CACHE/checkpoints`, else below the system's cache folder."""
    own = os.environ.get("XPM_STREAM_CACHE")
    if own:
        return Path(own).expanduser() / "checkpoints"
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "xpm-stream" / "checkpoints"
