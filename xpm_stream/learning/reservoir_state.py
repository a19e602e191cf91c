"""What a reservoir keeps of trained samples, as checkpoints hold it, and how ranks share it out."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from xpm_stream.records import Annotation, ImageInline, ImagePayload, LabelMessage, SampleId


class ReplaySample(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What it takes to label a trained sample anew."""

    sample: SampleId
    words: list[str]
    image: ImagePayload
    previous: Annotation | None = None  # its old label, where that names partner images

    @classmethod
    def of(cls, message: LabelMessage) -> ReplaySample:
        """Return what is kept of a label."""
        annotation = message.annotation
        # Else left out: a teacher finds instances anew, and they are most of a label's size.
        previous = annotation if annotation.partner_images() else None
        return cls(sample=message.sample, words=message.words, image=message.image, previous=previous)

    @property
    def inline_bytes(self) -> int:
        """Size of the encoded images it carries, its partners' included."""
        payloads = [self.image, *(self.previous.partner_images() if self.previous else ())]
        return sum(len(payload.data) for payload in payloads if isinstance(payload, ImageInline))


class ReservoirLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much is kept."""

    per_word: int  # samples of a word
    capacity: int  # samples in all
    inline_bytes: int  # of encoded images that samples carry, in all


class WordState(msgspec.Struct, array_like=True):
    """One word of a reservoir's state."""

    seen: int  # samples of this word since the reservoir knows it
    quota: int  # how many are listed at most
    places: list[int]  # those listed, as places in `ReservoirState.samples`


class ReservoirState(msgspec.Struct, kw_only=True):
    """A reservoir as a checkpoint keeps it."""

    limits: ReservoirLimits
    added: int
    samples: list[ReplaySample]
    words: dict[str, WordState]  # in the order in which draws see them


def deal(states: Sequence[ReservoirState], *, ranks: int) -> list[ReservoirState]:
    """Return a state for each of `ranks` ranks, from those of as many as there were: every sample goes to one of them.

    As many ranks as before get their own states back. Else samples go round, and what was seen of a word is divided.
    """
    if len(states) == ranks or not states:
        return list(states)
    seen: dict[str, int] = {}
    for state in states:
        for word, known in state.words.items():
            seen[word] = seen.get(word, 0) + known.seen
    return [_hand(states, number=number, ranks=ranks, seen=seen) for number in range(ranks)]


def _hand(states: Sequence[ReservoirState], *, number: int, ranks: int, seen: dict[str, int]) -> ReservoirState:
    samples: list[ReplaySample] = []
    words: dict[str, WordState] = {}
    before = 0  # samples of the states already looked at
    for state in states:
        mine = {p: len(samples) + n for n, p in enumerate(range((number - before) % ranks, len(state.samples), ranks))}
        samples += [state.samples[place] for place in mine]
        for word, known in state.words.items():
            places = [mine[place] for place in known.places if place in mine]
            if places:
                mine_of_word = words.setdefault(word, WordState(0, 1, []))
                mine_of_word.places += places
                mine_of_word.quota = max(mine_of_word.quota, known.quota)
        before += len(state.samples)
    for word, known in words.items():
        known.seen = max(len(known.places), seen[word] // ranks)
    return ReservoirState(
        limits=states[0].limits,
        added=max(state.added for state in states),
        samples=samples,
        words=words,
    )
