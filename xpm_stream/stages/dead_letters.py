"""What people do with dead letters: choose them, look at one, send them back, or give them up."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Final, Literal

from xpm_stream.config import RunConfig
from xpm_stream.errors import MessageError, QueueError
from xpm_stream.label_queue import DeadLetter, LabelQueue, Replay, ShardRow, decode
from xpm_stream.records import LabelMessage
from xpm_stream.stages.operating import open_queue_of
from xpm_stream.stages.shard_ledger import shard_matcher

Side = Literal["labeler", "trainer"]
_PAGE: Final = 500
_REMEMBERED_SHARDS: Final = 4096
_LETTER_ID: Final = re.compile(r"\d{1,20}-\d{1,20}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A dead letter, and the shard its sample is in."""

    dead: DeadLetter
    shard_url: str | None  # none: the letter names no sample, or Redis does not know its shard


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedLetter:
    """A dead letter with what it holds."""

    letter: Letter
    label: LabelMessage | None  # none: it has no message, or an unreadable one
    unreadable: str | None  # why its message cannot be decoded


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which letters are meant: those with these ids, else all that fit, up to the newest there was when asked."""

    ids: tuple[str, ...] = ()
    reason: str | None = None
    side: Side | None = None
    shard: str | None = None  # URL pattern or id, as `shards list` takes it
    until: str = "+"

    @property
    def is_everything(self) -> bool:
        """Whether nothing narrows it."""
        return not (self.ids or self.reason or self.side or self.shard)


@contextmanager
def letters_of(config: RunConfig) -> Iterator[Letters]:
    """Open the dead letters of a run.

    Raises:
        QueueError: Redis cannot be reached, or refuses.
    """
    with open_queue_of(config) as queue:
        yield Letters(queue)


class Letters:
    """The dead letters of a run. They are read page by page, however many there are."""

    def __init__(self, queue: LabelQueue) -> None:
        self._queue = queue
        self._row: Callable[[str], ShardRow | None] = lru_cache(_REMEMBERED_SHARDS)(queue.shard_row)

    def each(self, choice: Choice, *, after: str = "0-0") -> Iterator[Letter]:
        """Yield letters, oldest first.

        Raises:
            QueueError: there is no letter with one of the ids, or an id is none.
        """
        if choice.ids:
            yield from [self._with_id(letter_id) for letter_id in choice.ids]
            return
        _check_id(after)
        in_shard = shard_matcher(choice.shard) if choice.shard else None
        for dead in self._queue.dead_letters(after=after, until=choice.until):
            row = self._row_of(dead)
            if (
                choice.reason in (None, dead.reason)
                and choice.side in (None, dead.side)
                and (in_shard is None or (row is not None and in_shard(row)))
            ):
                yield Letter(dead=dead, shard_url=row.url if row else None)

    def settle(self, choice: Choice) -> tuple[Choice, int]:
        """Return the choice as it stands now, so that letters that come later are not in it, and how many it holds.

        Raises:
            QueueError: there is no such letter.
        """
        if choice.ids:
            ids = tuple(dict.fromkeys(choice.ids))
            return Choice(ids=ids), len(list(self.each(Choice(ids=ids))))
        newest = self._queue.newest_dead_letter()
        if newest is None:
            if choice.is_everything:
                return choice, 0
            raise QueueError("this run has no dead letters")
        settled = Choice(reason=choice.reason, side=choice.side, shard=choice.shard, until=newest)
        number = sum(1 for _ in self.each(settled))
        if not number and not choice.is_everything:
            reasons = Counter(dead.reason for dead in self._queue.dead_letters(until=newest))
            there = ", ".join(f"{reason} ({count:,})" for reason, count in reasons.most_common())
            raise QueueError(f"no dead letter fits; by reason there are: {there}")
        return settled, number

    def show(self, letter_id: str) -> OpenedLetter:
        """Return one letter with its label.

        Raises:
            QueueError: there is no such letter.
        """
        letter = self._with_id(letter_id)
        message = self._queue.dead_message(letter_id)
        if message is None:
            return OpenedLetter(letter=letter, label=None, unreadable=None)
        try:
            return OpenedLetter(letter=letter, label=decode(message), unreadable=None)
        except MessageError as error:
            return OpenedLetter(letter=letter, label=None, unreadable=str(error))

    def replay(self, choice: Choice, *, on_progress: Callable[[int], None] = lambda done: None) -> Replay:
        """Have the letters' samples tried again: by the trainer where there is a message, else by the labelers."""
        parts = []
        for page in self._pages(choice):
            parts.append(self._queue.replay(page))
            on_progress(len(page))
        return Replay(
            to_stream=sum(part.to_stream for part in parts),
            to_relabel=sum(part.to_relabel for part in parts),
            refused=tuple(letter_id for part in parts for letter_id in part.refused),
            gone=sum(part.gone for part in parts),
        )

    def purge(self, choice: Choice, *, on_progress: Callable[[int], None] = lambda done: None) -> int:
        """Give the letters' samples up for good: the audit counts them as dead for ever. Return how many there were."""
        purged = 0
        for page in self._pages(choice):
            purged += self._queue.purge(page)
            on_progress(len(page))
        return purged

    def _pages(self, choice: Choice) -> Iterator[Sequence[DeadLetter]]:
        letters = (letter.dead for letter in self.each(choice))
        while page := list(islice(letters, _PAGE)):
            yield page

    def _with_id(self, letter_id: str) -> Letter:
        _check_id(letter_id)
        dead = self._queue.show_dead_letter(letter_id)
        if dead is None:
            raise QueueError(f"there is no dead letter {letter_id} (any more): see `xpm-stream dead list`")
        row = self._row_of(dead)
        return Letter(dead=dead, shard_url=row.url if row else None)

    def _row_of(self, dead: DeadLetter) -> ShardRow | None:
        return None if dead.sample is None else self._row(f"{dead.sample.pass_index}:{dead.sample.shard_id}")


def _check_id(letter_id: str) -> None:
    if not _LETTER_ID.fullmatch(letter_id):
        raise QueueError(
            f"{letter_id!r} is no dead letter's id; ids look like 1732110526123-0: see `xpm-stream dead list`"
        )
