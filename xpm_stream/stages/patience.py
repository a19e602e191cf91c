"""How long to wait before something that a store did not give is asked for again."""

from __future__ import annotations

from typing import Final

from xpm_stream.config.queue_sections import QueueConfig

_GROWTH: Final = 10.0  # a short hiccup is over at the first repeat; most of the time is left to the last


def waits_s(config: QueueConfig) -> list[float]:
    """Return the seconds to wait after each of `max_attempts` attempts but the last, `store_patience_s` in all.

    Each wait is ten times as long as the one before. With 3 attempts over 300 s: 27 s, then 273 s.
    """
    weights = [_GROWTH**attempt for attempt in range(config.max_attempts - 1)]
    return [config.store_patience_s * weight / sum(weights) for weight in weights]
