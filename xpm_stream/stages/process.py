"""What every role's process has in common: signals, logs, metrics and health, registry, watchdog; and the queue."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Final

import structlog

from xpm_stream.config import RunConfig, save_resolved
from xpm_stream.errors import QueueUnavailable, RegistryUnavailable
from xpm_stream.label_queue import LabelQueue, Outage, connect
from xpm_stream.monitoring.log_files import Rotation
from xpm_stream.monitoring.logs import configure_logging
from xpm_stream.monitoring.metrics import Metrics
from xpm_stream.monitoring.metrics import Role as RoleKind
from xpm_stream.monitoring.readiness import Bounded, Check, Readiness
from xpm_stream.monitoring.serving import Health, serve_metrics
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.registry.patience import Patience, StoreOutage
from xpm_stream.registry.promotion_log import PromotionLog
from xpm_stream.registry.store import Store, open_store
from xpm_stream.stages.run_folder import RunFolder
from xpm_stream.stages.watchdog import Watchdog

_SAY_EVERY_ATTEMPTS: Final = 10


@dataclass(slots=True)
class Role:
    """One role's process."""

    name: str
    config: RunConfig
    folder: RunFolder
    open_registry: Callable[[str], Store]  # "" or "/resume"; it waits for a store that is away
    checkpoints: CheckpointStore
    promotions: PromotionLog
    metrics: Metrics
    log: structlog.stdlib.BoundLogger
    watchdog: Watchdog
    stop: threading.Event
    unready: list[Check]  # each says at once what keeps the role from working now, or nothing


class Starting:
    """A check of readiness: what a role still lacks before its work can begin."""

    def __init__(self, lacks: str) -> None:
        self.lacks: str | None = lacks  # none: it has begun

    def __call__(self) -> str | None:
        """Return what it lacks."""
        return self.lacks


@contextmanager
def role_process(name: str, *, kind: RoleKind, config: RunConfig, port_offset: int = 0) -> Iterator[Role]:
    """Set a role's process up and take it down again, whatever happens in between.

    SIGTERM and SIGINT set `stop`: the role ends its batch, gives back what it holds, and leaves, within its
    `stop_timeout_s`. A second SIGINT interrupts at once. That Redis or the registry is away is no error then: what was
    not acknowledged is settled at the next start, and leases run out.
    """
    folder = RunFolder.of(config)
    folder.create()
    _keep_config(config, folder)
    with ExitStack() as stack:
        log = configure_logging(name, run_folder=folder.root, rotation=Rotation.of(config.logs))
        stop = threading.Event()
        stack.enter_context(_stop_on_signals(stop))
        metrics = Metrics(kind)
        watchdog = stack.enter_context(
            Watchdog(
                timeout_s=config.trainer.stall_timeout_s,
                stop=stop,
                stop_timeout_s=_stop_timeout_s(kind, config),
            )
        )

        def on_outage(outage: StoreOutage) -> None:
            metrics.count_error(outage.error)
            watchdog.progress("waiting for the registry")
            if outage.attempt % _SAY_EVERY_ATTEMPTS == 1:
                log.warning("waiting for the registry", error=str(outage.error), waited_s=outage.waited_s)

        open_registry = partial(_open_registry, config, folder, on_outage=on_outage, stop=stop)
        role = Role(
            name=name,
            config=config,
            folder=folder,
            open_registry=open_registry,
            checkpoints=CheckpointStore(open_registry("/checkpoints")),
            promotions=PromotionLog(open_registry("")),
            metrics=metrics,
            log=log,
            watchdog=watchdog,
            stop=stop,
            unready=[],
        )
        if config.metrics.enabled:
            port = config.metrics.port + port_offset if config.metrics.port else 0
            readiness = Readiness(role.unready)
            health = Health(
                liveness=lambda: [stalled] if (stalled := role.watchdog.stalled()) else [], readiness=readiness.reasons
            )
            metrics.process.ready.set_function(lambda: float(not readiness.reasons()))
            stack.enter_context(
                serve_metrics(
                    metrics,
                    host=config.metrics.host,
                    port=port,
                    health=health,
                    run_folder=folder.root,
                    role=name.partition("-")[0],  # labeler-1 is a labeler
                )
            )
        try:
            yield role
        except (QueueUnavailable, RegistryUnavailable) as error:
            if not stop.is_set():
                raise
            away = "Redis" if isinstance(error, QueueUnavailable) else "the registry"
            log.warning(f"stopped while {away} was away", reason=str(error))


def _open_registry(
    config: RunConfig,
    folder: RunFolder,
    part: str,
    *,
    on_outage: Callable[[StoreOutage], None],
    stop: threading.Event,
) -> Store:
    patience = Patience(retry_for_s=config.registry.retry_for_s, on_outage=on_outage, stop=stop)
    return open_store(f"{folder.registry_url(config)}{part}", patience=patience)


def _stop_timeout_s(kind: RoleKind, config: RunConfig) -> float:
    if kind == "labeler":
        return config.labeler.stop_timeout_s
    return config.trainer.stop_timeout_s if kind == "trainer" else config.promotion.stop_timeout_s


def _keep_config(config: RunConfig, folder: RunFolder) -> None:
    """Leave the configuration where `audit`, `show` and `shards` look for it, when no `up` has made this folder.

    Data that a run prepares itself is known to `up` only, so such a configuration is left for it to write.
    """
    prepared_by_up = config.prepare.synthetic is not None or config.prepare.pack is not None
    if not prepared_by_up and not folder.config.exists():
        save_resolved(config.model_copy(update={"folder": str(folder.root)}), folder.root)


@contextmanager
def open_queue(role: Role) -> Iterator[LabelQueue]:
    """Connect a role to the run's label queue; the role is not ready while Redis does not answer."""

    def on_outage(outage: Outage) -> None:
        role.metrics.count_error(outage.error)
        role.watchdog.progress("waiting for Redis")
        if outage.attempt % _SAY_EVERY_ATTEMPTS == 1:
            role.log.warning("waiting for Redis", doing=outage.doing, error=str(outage.error), waited_s=outage.waited_s)

    config = role.config
    connecting = Starting("Redis has not answered yet")
    role.unready.append(connecting)
    with connect(config.redis, config.queue, run_folder=role.folder.root, on_outage=on_outage, stop=role.stop) as queue:
        away = "Redis does not answer"
        role.unready.append(Bounded(lambda: None if queue.ping() else away, late=away))
        connecting.lacks = None
        yield queue


@contextmanager
def _stop_on_signals(stop: threading.Event) -> Iterator[None]:
    """Set `stop` on SIGTERM and SIGINT; a SIGINT after that interrupts.

    A thread sets it, told by the system itself: Python's own handler would wait for the main thread to come out of C
    code, such as the ranks' meeting, and interrupts it anywhere, also inside `stop.wait`, which holds the lock that
    `stop.set` needs.
    """
    receiver, sender = os.pipe()
    os.set_blocking(sender, False)
    told = 0

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal told
        told += 1
        if told > 1 and number == signal.SIGINT:
            raise KeyboardInterrupt

    def wait_for_signals() -> None:
        while number := os.read(receiver, 1):  # none: the other end was closed
            if number[0] in (signal.SIGTERM, signal.SIGINT):
                stop.set()

    waiter = threading.Thread(target=wait_for_signals, name="signals", daemon=True)
    waiter.start()
    previous = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    previous_descriptor = signal.set_wakeup_fd(sender, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(previous_descriptor)
        for number, handler in previous.items():
            signal.signal(number, handler)
        os.close(sender)
        waiter.join()
        os.close(receiver)
