"""Reading the checkpoint that the promotion log names, while others are removed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection
from typing import Final

from xpm_stream.errors import CheckpointError
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.registry.promotion_log import PromotionEntry

_LOOKS: Final = 3


def read_wanted(
    checkpoints: CheckpointStore, wanted: Callable[[], PromotionEntry | None], *, only: Collection[str] | None = None
) -> tuple[PromotionEntry, dict[str, bytes]] | None:
    """Return what the log names and its files; none: it names nothing.

    The champion is never removed, but it may be the champion no more when its files are read: then the log is asked
    again. So those who follow the log need no lease, nor the right to write one.

    Args:
        checkpoints: where they are.
        wanted: asks the log.
        only: the files to read; none: all.

    Raises:
        CheckpointError: what the log names now is not there, or is damaged.
    """
    for _ in range(_LOOKS - 1):
        entry = wanted()
        if entry is None:
            return None
        with contextlib.suppress(CheckpointError):
            return entry, checkpoints.read(entry.checkpoint, only=only)
    entry = wanted()
    return None if entry is None else (entry, checkpoints.read(entry.checkpoint, only=only))
