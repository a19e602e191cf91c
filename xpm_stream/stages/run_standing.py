"""Finding out how a run stands: endpoints, queue, promotion log and drift windows, each for itself.

What cannot be reached is `Absent` with the reason; the rest is told all the same.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from xpm_stream.config import RunConfig
from xpm_stream.errors import DataError, QueueError, RegistryError
from xpm_stream.label_queue import CorpusProgress, QueueStats
from xpm_stream.monitoring.drift_records import WindowRecord, decode_window
from xpm_stream.monitoring.role_standings import look_at_roles
from xpm_stream.monitoring.standing import (
    Absent,
    Phase,
    PromotionStanding,
    QueueStanding,
    RoleStanding,
    RunStanding,
    gates_of,
)
from xpm_stream.registry.promotion_log import PromotionEntry, PromotionLog
from xpm_stream.registry.store import Store, open_store
from xpm_stream.stages.operating import open_queue_of
from xpm_stream.stages.run_folder import RunFolder

_WINDOWS: Final = "drift/windows"
_READS_AT_ONCE: Final = 8


def stand(config: RunConfig, *, max_windows: int | None = None, earlier: RunStanding | None = None) -> RunStanding:
    """Look at a run now, whether it runs or not; an embedded Redis that is down is started meanwhile.

    Args:
        config: the run's, with the folder where it is now.
        max_windows: only so many of the newest drift windows are read; none: all.
        earlier: the last look at it, by who looks again and again.
    """
    folder = RunFolder.of(config)
    roles = _roles(config, folder)
    asleep = config.redis.url == "embedded" and not _may_live(roles)
    # Nobody writes to an embedded queue while no role lives: it is not started over and over to say the same.
    queue = earlier.queue if earlier is not None and asleep else look_at_queue(config)
    log = PromotionLog(folder.registry_url(config))
    promotions: list[PromotionStanding] | Absent
    champion, revoked, pending = None, list[int](), 0
    try:
        promotions = [_promotion(entry) for entry in log.entries()]
        in_force = log.champion()
        champion = None if in_force is None else in_force.number
        revoked = sorted(log.revoked())
        pending = len(log.pending_candidates())
    except (RegistryError, OSError) as error:
        promotions = Absent(str(error))
    gates = config.promotion.gates
    return RunStanding(
        name=config.name,
        method=config.method,
        folder=str(folder.root),
        looked_at_s=time.time(),
        phase=_phase(folder, roles, queue, promotions),
        roles=roles,
        queue=queue,
        promotions=promotions,
        champion=champion,
        revoked=revoked,
        candidates_pending=pending,
        failures_in_a_row=_failures_in_a_row(promotions),
        max_failures=gates.max_failures if gates.enabled else None,
        min_window_labels=config.drift.min_window_labels,
        windows=look_at_windows(open_store(folder.registry_url(config)), newest=max_windows),
    )


def look_at_queue(config: RunConfig) -> QueueStanding | Absent:
    """Count the queue."""
    if config.redis.url == "embedded" and not (RunFolder.of(config).root / "redis").is_dir():
        return Absent("the run has no queue yet (its folder has no redis/)")
    try:
        with open_queue_of(config) as queue:
            return queue_standing(config, queue.stats(), queue.corpus_progress())
    except QueueError as error:
        return Absent(str(error))


def queue_standing(config: RunConfig, stats: QueueStats, progress: CorpusProgress) -> QueueStanding:
    """Return the queue's counts beside its budgets."""
    return QueueStanding(
        unacked_labels=stats.unacked_labels,
        max_unacked_labels=config.queue.max_unacked_labels,
        unacked_bytes=stats.unacked_bytes,
        max_unacked_bytes=config.queue.max_unacked_mb * 2**20,
        oldest_label_age_s=stats.oldest_label_age_s,
        relabels=stats.relabels,
        dead_letters=stats.dead_letters,
        dead_by_reason=dict(stats.dead),
        skipped_by_reason=dict(stats.skipped),
        shards_pending=stats.shards_pending,
        shards_leased=stats.shards_leased,
        shards_finished=stats.shards_finished,
        shards_failed=stats.shards_failed,
        lease_expiries=stats.lease_expiries,
        labels_committed=stats.labels_committed,
        labels_acknowledged=stats.labels_acknowledged,
        finished=progress.finish is not None,
    )


def look_at_windows(store: Store, *, newest: int | None = None) -> list[WindowRecord] | Absent:
    """Read the records of drift windows, oldest first; at most the newest so many."""
    try:
        names = store.names(_WINDOWS)
    except (RegistryError, OSError) as error:
        return Absent(f"the drift windows cannot be listed: {error}")
    if newest is not None:
        names = names[-newest:]
    try:
        with ThreadPoolExecutor(_READS_AT_ONCE) as pool:  # a remote registry answers each in its time
            records = list(pool.map(lambda name: _window(store, name), names))
    except (DataError, RegistryError, OSError) as error:
        return Absent(f"the drift windows cannot be read: {error}")
    found = [record for record in records if record is not None]
    if not found:
        return Absent("no drift window is recorded: no monitor has closed one (xpm-stream watch)")
    return found


def _window(store: Store, name: str) -> WindowRecord | None:
    try:
        return decode_window(store.read(f"{_WINDOWS}/{name}"))
    except FileNotFoundError:
        return None  # the monitor has pruned it just now
    except DataError as error:
        raise DataError(f"{name}: {error}") from error


def _promotion(entry: PromotionEntry) -> PromotionStanding:
    return PromotionStanding(
        number=entry.number,
        action=entry.action,
        checkpoint=entry.checkpoint,
        epoch=entry.epoch,
        step=entry.step,
        created_at_s=entry.created_at_s,
        by=entry.by,
        target=entry.target,
        reasons=list(entry.reasons),
        gates=gates_of(entry.checks),
    )


def _failures_in_a_row(promotions: Sequence[PromotionStanding] | Absent) -> int:
    if isinstance(promotions, Absent):
        return 0
    failures = 0
    for entry in reversed(promotions):
        if entry.action not in ("refuse", "inconclusive"):
            break
        failures += 1
    return failures


def _roles(config: RunConfig, folder: RunFolder) -> list[RoleStanding] | Absent:
    if not config.metrics.enabled:
        return Absent("which processes live cannot be told: metrics.enabled is false")
    return look_at_roles(folder.root)


def _may_live(roles: Sequence[RoleStanding] | Absent) -> bool:
    return isinstance(roles, Absent) or any(role.alive for role in roles)


def _phase(
    folder: RunFolder,
    roles: Sequence[RoleStanding] | Absent,
    queue: QueueStanding | Absent,
    promotions: Sequence[PromotionStanding] | Absent,
) -> Phase:
    if not isinstance(roles, Absent) and _may_live(roles):
        return "running"
    if folder.summary.exists() or (isinstance(queue, QueueStanding) and queue.finished):
        return "finished"
    if isinstance(roles, Absent):
        return "unknown"
    begun = bool(roles or promotions) or (isinstance(queue, QueueStanding) and queue.num_shards > 0)
    return "stopped" if begun else "not_begun"
