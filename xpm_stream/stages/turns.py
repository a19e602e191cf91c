"""What the ranks of a trainer tell each other before each step, and what follows from it on every rank alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from xpm_stream.records import LabelMessage, SampleId
from xpm_stream.stages.training_state import TeacherTally


class Entry(msgspec.Struct, kw_only=True):
    """One label that a rank wants to train now."""

    sample: SampleId
    promotion: int  # of the teacher that wrote it
    words: list[str]
    tally: TeacherTally  # of this one label


class Turn(msgspec.Struct, kw_only=True):
    """What one rank brings to a step."""

    stopping: bool = False
    checkpoint: bool = False  # this rank wants one now, whether or not it is due
    entries: list[Entry] = []  # none: this rank has no full batch now
    relabelled: int = 0  # labels it sent back since its last turn
    replayed: int = 0  # trained images that come back beside its entries


def entry_of(message: LabelMessage) -> Entry:
    """Return what other ranks must know of a label."""
    return Entry(
        sample=message.sample,
        promotion=message.teacher.promotion,
        words=message.words,
        tally=TeacherTally.of(message),
    )


def accepted_entries(turns: Sequence[Turn], *, trained: Iterable[SampleId]) -> list[list[Entry]]:
    """Return each rank's entries without samples that are trained already or that a lower rank brings too.

    Two ranks can hold the same sample when its label arrived twice: each sees only what itself has read.

    Args:
        turns: of all ranks, by rank.
        trained: those of the turns' samples that are trained.
    """
    taken = set(trained)
    accepted = []
    for turn in turns:
        kept = []
        for entry in turn.entries:
            if entry.sample not in taken:
                taken.add(entry.sample)
                kept.append(entry)
        accepted.append(kept)
    return accepted
