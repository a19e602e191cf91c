"""The dead letters: bad samples (from labelers) and messages that failed too often (from the trainer)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from xpm_stream.label_queue.deliveries import DeadLetter
from xpm_stream.label_queue.keys import parse_sample, shard_key
from xpm_stream.label_queue.role import QueueRole

_PAGE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What became of letters that should be tried again."""

    to_stream: int  # had a message: it goes to the trainer again
    to_relabel: int  # had none: the sample goes to a labeler again
    refused: tuple[str, ...]  # letters that name no sample, so nothing can be replayed


class DeadLetterDesk(QueueRole):
    """List, show, replay, purge. The audit counts a purged letter's sample as dead for good."""

    def dead_letters(self, *, after: str = "0-0") -> Iterator[DeadLetter]:
        """All letters, oldest first, beginning behind letter `after`; read page by page."""
        while True:
            page = self.edge.command(
                "xrange", self.keys.dead, min=f"({after}", max="+", count=_PAGE, doing="listing dead letters"
            )
            for letter_id, fields in page:
                after = bytes(letter_id).decode("ascii")
                yield _letter(after, fields)
            if len(page) < _PAGE:
                return

    def show_dead_letter(self, letter_id: str) -> DeadLetter | None:
        """One letter, or none when there is no such letter (any more)."""
        page = self.edge.command("xrange", self.keys.dead, min=letter_id, max=letter_id, doing="showing a dead letter")
        return _letter(letter_id, page[0][1]) if page else None

    def replay(self, letters: Sequence[DeadLetter]) -> Replay:
        """Sends letters to the trainer where there is a message, else to the labelers. Repeating it is harmless."""
        to_stream = to_relabel = 0
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
                arguments={"id": letter.letter_id, "shard": shard, "ordinal": letter.sample.ordinal},
                doing="replaying a dead letter",
            )
            to_stream += went == b"stream"
            to_relabel += went == b"relabel"
        return Replay(to_stream=to_stream, to_relabel=to_relabel, refused=tuple(refused))

    def purge(self, letters: Sequence[DeadLetter]) -> int:
        """Deletes letters; their samples stay booked as dead. Returns how many were there."""
        ids = [letter.letter_id for letter in letters]
        purged = 0
        for first in range(0, len(ids), 1000):
            part = ids[first : first + 1000]
            purged += int(self.edge.command("xdel", self.keys.dead, *part, doing="purging dead letters"))
        return purged


def _letter(letter_id: str, fields: dict[bytes, Any]) -> DeadLetter:
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
        message=fields.get(b"m"),
        relabels=int(fields.get(b"r", 0)),
    )
