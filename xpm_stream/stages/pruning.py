"""The promoter's housekeeping: teachers and candidates that nobody needs any more are removed from the registry."""

from __future__ import annotations

import time
from typing import Final

from xpm_stream.config import RunConfig
from xpm_stream.errors import RegistryError
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.registry.collector import Collected, Collector
from xpm_stream.registry.holds import Holds
from xpm_stream.registry.promotion_log import PromotionLog
from xpm_stream.registry.retention import RetentionPolicy
from xpm_stream.stages.process import Role
from xpm_stream.stages.run_folder import RunFolder

_EVERY_S: Final = 60.0
_DAY_S: Final = 86_400.0
_KEEP_UNNAMED_S: Final = _DAY_S  # written, not proposed: of a trainer that was killed in between


def collect_checkpoints(config: RunConfig, *, dry_run: bool = False) -> Collected:
    """Mark and remove old teachers and candidates of a run's registry, as `registry.keep_*` says.

    Raises:
        RegistryError: a file of the registry is damaged, or it cannot be written.
        OSError: it cannot be reached.
    """
    return _collector(config).collect(dry_run=dry_run)


class Pruner:
    """Does so now and then. A registry that refuses is logged and asked again: promotions do not wait for it."""

    def __init__(self, role: Role) -> None:
        self._role = role
        self._collector = _collector(role.config)
        self._due_s = time.monotonic()

    def prune_if_due(self) -> None:
        """Look, if it is time to and `registry.prune` says so."""
        if not self._role.config.registry.prune or time.monotonic() < self._due_s:
            return
        self._role.watchdog.progress("removing old checkpoints")
        self._due_s = time.monotonic() + _EVERY_S
        try:
            collected = self._collector.collect()
        except (RegistryError, OSError) as error:
            self._role.metrics.count_error(error if isinstance(error, RegistryError) else RegistryError(str(error)))
            self._role.log.warning("cannot remove old checkpoints", reason=str(error))
            return
        for name, why in collected.marked.items():
            self._role.log.info("checkpoint to be removed", checkpoint=name, why=why)
        if collected.removed:
            self._role.log.info("checkpoints removed", names=collected.removed, bytes=collected.removed_bytes)


def _collector(config: RunConfig) -> Collector:
    url = RunFolder.of(config).registry_url(config)
    policy = RetentionPolicy(
        keep_promotions=config.registry.keep_promotions,
        keep_s=config.registry.keep_days * _DAY_S,
        keep_candidates=config.registry.keep_candidates,
        keep_unnamed_s=_KEEP_UNNAMED_S,
    )
    return Collector(
        checkpoints=CheckpointStore(f"{url}/checkpoints"),
        promotions=PromotionLog(url),
        holds=Holds(url),
        policy=policy,
        remove_after_s=config.registry.remove_after_s,
    )
