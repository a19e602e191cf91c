"""What every role's process has in common: signals, logs, metrics and health, registry, watchdog; and the queue."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FrameType

import structlog

from xpm_stream.config import RunConfig
from xpm_stream.label_queue import LabelQueue, connect
from xpm_stream.monitoring.logs import configure_logging
from xpm_stream.monitoring.metrics import Metrics
from xpm_stream.monitoring.metrics import Role as RoleKind
from xpm_stream.monitoring.serving import Health, serve_metrics
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.registry.promotion_log import PromotionLog
from xpm_stream.stages.run_folder import RunFolder
from xpm_stream.stages.watchdog import Watchdog

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(slots=True)
class Role:
    """One role's process."""

    name: str
    config: RunConfig
    folder: RunFolder
    checkpoints: CheckpointStore
    promotions: PromotionLog
    metrics: Metrics
    log: structlog.stdlib.BoundLogger
    watchdog: Watchdog
    stop: threading.Event
    unready: list[Callable[[], str | None]]  # each says what keeps the role from working now, or nothing


@contextmanager
def role_process(name: str, *, kind: RoleKind, config: RunConfig, port_offset: int = 0) -> Iterator[Role]:
    """Set a role's process up and take it down again, whatever happens in between.

    SIGTERM and SIGINT set `stop`: the role ends its batch, gives back what it holds, and leaves. A second SIGINT
    interrupts at once.
    """
    folder = RunFolder.of(config)
    folder.root.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        log = configure_logging(name, run_folder=folder.root)
        stop = threading.Event()
        stack.enter_context(_stop_on_signals(stop))
        metrics = Metrics(kind)
        role = Role(
            name=name,
            config=config,
            folder=folder,
            checkpoints=CheckpointStore(f"{folder.registry_url(config)}/checkpoints"),
            promotions=PromotionLog(folder.registry_url(config)),
            metrics=metrics,
            log=log,
            watchdog=stack.enter_context(Watchdog(timeout_s=config.trainer.stall_timeout_s)),
            stop=stop,
            unready=[],
        )
        if config.metrics.enabled:
            port = config.metrics.port + port_offset if config.metrics.port else 0
            health = Health(readiness=lambda: [why for check in role.unready if (why := check())])
            stack.enter_context(
                serve_metrics(metrics, host=config.metrics.host, port=port, health=health, run_folder=folder.root)
            )
        yield role


def end_with_parent() -> None:
    """Have the kernel send SIGTERM to this process when the one that started it dies (Linux)."""
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the call took effect
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def open_queue(role: Role) -> Iterator[LabelQueue]:
    """Connect a role to the run's label queue; the role is not ready while Redis does not answer."""

    def waiting(error: Exception, waited_s: float) -> None:
        role.metrics.count_error(error)
        role.log.warning("waiting for Redis", error=str(error), waited_s=round(waited_s, 1))
        role.watchdog.progress("waiting for Redis")

    config = role.config
    with connect(config.redis, queue=config.queue, run_folder=role.folder.root, on_wait=waiting) as queue:
        role.unready.append(lambda: None if queue.ping() else "Redis does not answer")
        yield queue


@contextmanager
def _stop_on_signals(stop: threading.Event) -> Iterator[None]:
    def handle(number: int, _frame: FrameType | None) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    previous = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
