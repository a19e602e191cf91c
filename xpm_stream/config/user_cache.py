"""Where this user's caches are: of checkpoints, of text embeddings."""

from __future__ import annotations

import os
from pathlib import Path

from xpm_stream.errors import ConfigError


def user_cache(kind: str) -> Path:
    """Return `$XPM_STREAM_CACHE/KIND`, else `xpm-stream/KIND` below the system's cache folder for this user.

    Raises:
        ConfigError: this user has no home folder, and the environment names no cache.
    """
    own, root = os.environ.get("XPM_STREAM_CACHE"), os.environ.get("XDG_CACHE_HOME")
    try:
        if own:
            return Path(own).expanduser().absolute() / kind
        return (Path(root) if root else Path.home() / ".cache") / "xpm-stream" / kind
    except RuntimeError as error:  # a container's user that no list of users has, say
        raise ConfigError(f"cannot find a folder to cache in ({error}): set XPM_STREAM_CACHE to one") from error
