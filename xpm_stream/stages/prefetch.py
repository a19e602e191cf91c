"""Run an iterator in a thread of its own, a few items ahead of its reader."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

from xpm_stream.stages.watchdog import Watchdog

Item = TypeVar("Item")
_POLL_S = 0.2  # how soon a closed reader is noticed by a thread that waits for room


class Prefetched(Generic[Item]):
    """Iterates over `produce()` run in a thread; an error in it is raised at the reader's next step."""

    def __init__(
        self, produce: Callable[[], Iterator[Item]], *, depth: int, name: str, watchdog: Watchdog | None = None
    ) -> None:
        self._produce = produce
        self._name = name
        self._watchdog = watchdog
        self._queue: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(maxsize=depth)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        while True:
            # Whoever waits for the other thread is not stuck: the other one is watched meanwhile.
            if self._watchdog is not None:
                self._watchdog.pause()
            item, error = self._queue.get()
            self._watch(f"working on what the {self._name} gave")
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]  # None only beside an error

    def close(self) -> None:
        """Stop the thread; items not yet read are dropped."""
        self._closed.set()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        self._watch(self._name)
        try:
            items = self._produce()
            try:
                for item in items:
                    if not self._put(item, None):
                        return
            finally:
                close = getattr(items, "close", None)
                if close is not None:
                    close()
        except BaseException as error:  # noqa: BLE001  # handed to the reader, who raises it
            self._put(None, error)
        else:
            self._put(None, StopIteration())

    def _put(self, item: Item | None, error: BaseException | None) -> bool:
        if self._watchdog is not None:
            self._watchdog.pause()
        while not self._closed.is_set():
            try:
                self._queue.put((item, error), timeout=_POLL_S)
            except queue.Full:
                continue
            self._watch(self._name)
            return True
        return False

    def _watch(self, where: str) -> None:
        if self._watchdog is not None:
            self._watchdog.watch(where)
