"""Reading the label stream past its consumer group: every label is seen, none is taken, acknowledged or held back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from xpm_stream.errors import MessageError
from xpm_stream.label_queue.codec import decode
from xpm_stream.label_queue.role import QueueRole
from xpm_stream.records import LabelMessage

_PAGE_LABELS: Final = 200
_PAGE_BYTES: Final = 8 << 20
_CLOCK_STEP_S: Final = 60.0  # further in the future than this, an id is not of this Redis


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedLabel:
    """One label as an onlooker sees it."""

    entry_id: str
    committed_at_s: float  # Unix time by Redis' clock
    message: LabelMessage | MessageError


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelPage:
    """Consecutive labels of the stream, all of one moment."""

    labels: list[WatchedLabel]
    ends: bool  # nothing is on the stream behind them
    put: int  # labels ever put on the stream: committed, relabelled, replayed
    now_s: float  # that moment, Unix time by Redis' clock


class LabelLooking(QueueRole):
    """The monitor's half of the queue. It writes nothing, and its user need not be allowed to."""

    def look(self, after: str, *, count: int = _PAGE_LABELS, max_bytes: int = _PAGE_BYTES) -> LabelPage:
        """Return the labels behind entry `after` ('': from the oldest), in order.

        Args:
            after: an entry's id; the entry itself may be gone.
            count: labels in a page, at most.
            max_bytes: of their messages, at most; one that is larger comes alone.
        """
        rows, ends, put, now_ms = self.edge.run(
            "look",
            keys=[self.keys.labels, self.keys.counters],
            arguments={"after": f"({after}" if after else "-", "count": count, "bytes": max_bytes},
            doing="looking at labels",
        )
        labels = [_watched(bytes(entry_id).decode("ascii"), bytes(data)) for entry_id, data in rows]
        return LabelPage(labels=labels, ends=bool(ends), put=int(put), now_s=int(now_ms) / 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPlace:
    """How far a watcher has come; kept by its user, so that another process can go on there."""

    entry_id: str = ""  # the last label seen; '': none yet
    seen: int = 0
    missed: int = 0
    lost_by_redis: int = 0  # of the labels seen or missed, those that Redis' own count no longer has


class LabelWatcher:
    """Reads on from a place, page by page, and counts the labels that were deleted before it came to them.

    What was put on the stream and is neither seen nor still there was missed. Redis gives a page and its count of
    labels put there at one moment, so `missed` is exact whenever a page ends the stream; while the watcher lags behind,
    it is what it was. A Redis that comes back older than it was has an older count too: `missed` does not change then,
    and may lack what was deleted in between.
    """

    def __init__(self, queue: LabelLooking, place: StreamPlace) -> None:
        self._queue = queue
        self._entry_id = place.entry_id
        self.seen = place.seen
        self.missed = place.missed
        self._lost_by_redis = place.lost_by_redis

    def read(self, *, count: int = _PAGE_LABELS, max_bytes: int = _PAGE_BYTES) -> LabelPage:
        """Return the next labels: perhaps none, if the stream ends here.

        Raises:
            QueueUnavailable: Redis stayed away.
            QueueRefused: Redis refuses.
        """
        page = self._queue.look(self._entry_id, count=count, max_bytes=max_bytes)
        if self._entry_id and time_of(self._entry_id) > page.now_s + _CLOCK_STEP_S:  # another Redis, or another clock
            page = self._queue.look("", count=count, max_bytes=max_bytes)
        self.seen += len(page.labels)
        if page.labels:
            self._entry_id = page.labels[-1].entry_id
        if page.ends:
            self._settle(page.put)
        return page

    def place_after(self, entry_id: str, *, unread: int) -> StreamPlace:
        """Return the place behind a label of the last page, with so many of the page's labels behind it."""
        return StreamPlace(
            entry_id=entry_id, seen=self.seen - unread, missed=self.missed, lost_by_redis=self._lost_by_redis
        )

    def _settle(self, put: int) -> None:
        known = self.seen + self.missed - self._lost_by_redis
        if put >= known:
            self.missed += put - known
        else:
            self._lost_by_redis += known - put


def time_of(entry_id: str) -> float:
    """Return when an entry was put on the stream: Unix time by Redis' clock."""
    return int(entry_id.partition("-")[0]) / 1000


def _watched(entry_id: str, data: bytes) -> WatchedLabel:
    message: LabelMessage | MessageError
    try:
        message = decode(data)
    except MessageError as error:  # SchemaTooNew, too: whoever only looks need not stop for it
        message = error
    return WatchedLabel(entry_id=entry_id, committed_at_s=time_of(entry_id), message=message)
