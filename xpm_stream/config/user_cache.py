"""Where this user's caches are: of checkpoints, of text embeddings."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache(kind: str) -> Path:
    """Return `$XPM_STREAM_CACHE/KIND`, else `xpm-stream/KIND` below the system's cache folder for this user."""
    own = os.environ.get("XPM_STREAM_CACHE")
    if own:
        return Path(own).expanduser() / kind
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "xpm-stream" / kind
