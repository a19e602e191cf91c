"""The dead letters: bad samples (from labelers) and messages that failed too often (from the trainer)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from xpm_stream.label_queue.deliveries import DeadLetter
from xpm_stream.label_queue.keys import parse_sample, shard_key
from xpm_stream.label_queue.role import QueueRole

_PAGE = 100  # the script sees whole messages, images included: few enough not to hold up others
# Messages that no trainer can read: sending them again would only bring the letter back.
_UNREADABLE = frozenset({"message_invalid"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What became of letters that should be tried again."""

    to_stream: int  # had a message: it goes to the trainer again
    to_relabel: int  # had none: the sample goes to a labeler again
    refused: tuple[str, ...]  # letters that name no sample, so nothing can be replayed
    gone: int  # were there no more: replayed or purged meanwhile


class DeadLetterDesk(QueueRole):
    """List, show, replay, purge. The audit counts a purged letter's sample as dead for good."""

    def dead_letters(self, *, after: str = "0-0", until: str = "+") -> Iterator[DeadLetter]:
        """All letters, oldest first, behind letter `after` and up to letter `until`; read page by page.

        Their messages, which may hold whole images, stay in Redis.
        """
        while True:
            page = self._page(f"({after}", until)
            for letter in page:
                after = letter.letter_id
                yield letter
            if len(page) < _PAGE:
                return

    def newest_dead_letter(self) -> str | None:
        """The id of the newest letter; none when there are no letters."""
        page = self.edge.command("xrevrange", self.keys.dead, count=1, doing="looking at the newest dead letter")
        return bytes(page[0][0]).decode("ascii") if page else None

    def show_dead_letter(self, letter_id: str) -> DeadLetter | None:
        """One letter, or none when there is no such letter (any more)."""
        page = self._page(letter_id, letter_id)
        return page[0] if page else None

    def dead_message(self, letter_id: str) -> bytes | None:
        """The encoded label kept with a letter; none where there is none."""
        page = self.edge.command("xrange", self.keys.dead, min=letter_id, max=letter_id, doing="showing a dead letter")
        return page[0][1].get(b"m") or None if page else None

    def _page(self, after: str, until: str) -> list[DeadLetter]:
        rows = self.edge.run(
            "letters",
            keys=[self.keys.dead],
            arguments={"after": after, "until_id": until, "count": _PAGE},
            doing="listing dead letters",
        )
        return [_letter(bytes(letter_id).decode("ascii"), flat, int(size)) for letter_id, flat, size in rows]

    def replay(self, letters: Sequence[DeadLetter]) -> Replay:
        """Sends letters to the trainer where there is a message it can read, else to the labelers.

        The samples begin anew, with no failures and not yet relabelled. Repeating it is harmless.
        """
        to_stream = to_relabel = gone = 0
        refused: list[str] = []
        keys = self.keys
        for letter in letters:
            if letter.sample is None:
                refused.append(letter.letter_id)
                continue
            shard = shard_key(letter.sample)
            went = self.edge.run(
                "replay",
                keys=[
                    keys.dead,
                    keys.labels,
                    keys.counters,
                    keys.relabels,
                    keys.relabel_queue,
                    keys.shards,
                    keys.meta,
                    keys.dead_bits(shard),
                ],
                arguments={
                    "id": letter.letter_id,
                    "shard": shard,
                    "ordinal": letter.sample.ordinal,
                    "relabel": letter.reason in _UNREADABLE,
                },
                doing="replaying a dead letter",
            )
            to_stream += went == b"stream"
            to_relabel += went == b"relabel"
            gone += went == b"gone"
        return Replay(to_stream=to_stream, to_relabel=to_relabel, refused=tuple(refused), gone=gone)

    def purge(self, letters: Sequence[DeadLetter]) -> int:
        """Deletes letters; their samples stay booked as dead. Returns how many were there."""
        ids = [letter.letter_id for letter in letters]
        purged = 0
        for first in range(0, len(ids), 1000):
            part = ids[first : first + 1000]
            purged += int(self.edge.command("xdel", self.keys.dead, *part, doing="purging dead letters"))
        return purged


def _letter(letter_id: str, flat: Sequence[Any], message_bytes: int) -> DeadLetter:
    fields = dict(zip(flat[::2], flat[1::2], strict=True))

    def text(name: bytes) -> str:
        return bytes(fields.get(name, b"")).decode("utf-8", "replace")

    return DeadLetter(
        letter_id=letter_id,
        sample=parse_sample(bytes(fields.get(b"s", b""))),
        reason=text(b"reason"),
        detail=text(b"detail"),
        place=text(b"place"),
        side="trainer" if text(b"side") == "trainer" else "labeler",
        attempts=int(fields.get(b"attempts", 0)),
        died_at_s=int(letter_id.partition("-")[0]) / 1000,
        message_bytes=message_bytes,
        relabels=int(fields.get(b"r", 0)),
    )
