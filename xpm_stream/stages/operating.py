"""The label queue as the commands of people open it."""

from __future__ import annotations

from typing import Final

from xpm_stream.config import RunConfig
from xpm_stream.label_queue import LabelQueue, connect
from xpm_stream.stages.run_folder import RunFolder

_PATIENCE_S: Final = 5.0


def open_queue_of(config: RunConfig) -> LabelQueue:
    """Open a run's queue, whether the run runs or not; an embedded Redis that is down is started meanwhile.

    Someone is waiting for the answer: a Redis that is away is reported after seconds, not after `redis.retry_for_s`.

    Raises:
        QueueError: Redis cannot be reached, or refuses.
    """
    patience_s = min(_PATIENCE_S, config.redis.retry_for_s)
    redis = config.redis.model_copy(update={"retry_for_s": patience_s})
    return connect(redis, config.queue, run_folder=RunFolder.of(config).root)
