"""What every role's half of the queue holds."""

from __future__ import annotations

import threading

from xpm_stream.config.queue_sections import QueueConfig
from xpm_stream.label_queue.keys import Keys
from xpm_stream.label_queue.redis_edge import RedisEdge


class QueueRole:
    """The connection, the key names and the settings; the roles add their methods."""

    def __init__(self, edge: RedisEdge, *, namespace: str, config: QueueConfig) -> None:
        self.edge = edge
        self.keys = Keys(namespace)
        self.config = config
        self._epoch: tuple[int, str] | None = None  # the trainer's epoch and its unguessable name
        self._outstanding: dict[str, set[str]] = {}  # consumer -> entries it was handed and still holds
        # A loader thread reads while the trainer's acknowledges: between Redis' answer and our books of what is held,
        # entries just given back would look like lost deliveries, and be handed out again.
        self._books = threading.Lock()

    @property
    def _max_unacked_bytes(self) -> int:
        return self.config.max_unacked_mb * 1024 * 1024
