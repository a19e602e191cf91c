"""Trained samples kept to be learnt from again: a uniform sample of each word's, bounded, the same after a resume.

Reservoir sampling (Vitter's Algorithm R) for each word: of n samples of a word, each is kept with probability
min(1, quota / n), so that a word that left the stream keeps a fair picture of all its time there. A sample is listed
under each of its words, and stays while one of them lists it.

The quota is `per_word` until the bounds on all samples press; then it falls for all words alike, by a random sample of
each full list, which leaves what is kept uniform. When there are more words than room, random samples leave.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np

from xpm_stream.records import Annotation, ImageInline, ImagePayload, LabelMessage, SampleId

_TRIES: Final = 4  # picks for each sample that a draw is to give: a few words may list the same few samples


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
    places: list[int]  # those listed, as places in `ReservoirState.samples`


class ReservoirState(msgspec.Struct, kw_only=True):
    """A reservoir as a checkpoint keeps it."""

    limits: ReservoirLimits
    quota: int
    added: int
    samples: list[ReplaySample]
    words: dict[str, WordState]


@dataclass(slots=True)
class _Word:
    seen: int = 0
    listed: list[SampleId] = field(default_factory=list)


class Reservoir:
    """Not safe to share between threads."""

    def __init__(self, limits: ReservoirLimits, *, seed: Sequence[int]) -> None:
        self._limits = limits
        self._seed = list(seed)
        self._quota = limits.per_word
        self._added = 0
        self._samples: dict[SampleId, ReplaySample] = {}
        self._listings: dict[SampleId, int] = {}  # under how many words
        self._words: dict[str, _Word] = {}
        self._inline_bytes = 0

    def __len__(self) -> int:
        return len(self._samples)

    def __contains__(self, sample: SampleId) -> bool:
        return sample in self._samples

    @property
    def num_words(self) -> int:
        """How many words list a sample."""
        return len(self._words)

    @property
    def inline_bytes(self) -> int:
        """Size of all encoded images that samples carry."""
        return self._inline_bytes

    def add(self, sample: ReplaySample) -> None:
        """Take note of a trained sample, and keep it if its turn comes under one of its words."""
        if sample.sample in self._samples:
            return
        # From the count, not from a generator that goes on: there is no generator's state to keep.
        rng = np.random.default_rng([*self._seed, self._added])
        self._added += 1
        self._hold(sample)
        for word in dict.fromkeys(sample.words):
            self._offer(word, sample.sample, rng)
        if not self._listings[sample.sample]:
            self._let_go(sample.sample)
        self._keep_bounds(rng)

    def draw(self, count: int, *, rng: np.random.Generator) -> list[ReplaySample]:
        """Return up to `count` different samples: for each a word uniformly, then one of its samples."""
        words = list(self._words)
        drawn: dict[SampleId, None] = {}
        for _ in range(_TRIES * count if words else 0):
            if len(drawn) == count:
                break
            listed = self._words[words[rng.integers(len(words))]].listed
            drawn[listed[rng.integers(len(listed))]] = None
        return [self._samples[sample] for sample in drawn]

    def remove(self, sample: SampleId) -> bool:
        """Let a sample go whose image is lost; false if it is not here any more.

        The next sample of each of its words takes its place; a word without samples is forgotten.
        """
        if sample not in self._samples:
            return False
        for word in dict.fromkeys(self._samples[sample].words):
            known = self._words.get(word)
            if known is not None and sample in known.listed:
                known.listed.remove(sample)
                if not known.listed:
                    del self._words[word]
        self._let_go(sample)
        return True

    def state(self) -> ReservoirState:
        """Return everything that is needed to go on exactly from here."""
        places = {sample: place for place, sample in enumerate(self._samples)}
        return ReservoirState(
            limits=self._limits,
            quota=self._quota,
            added=self._added,
            samples=list(self._samples.values()),
            words={
                word: WordState(known.seen, [places[sample] for sample in known.listed])
                for word, known in self._words.items()
            },
        )

    @classmethod
    def from_state(cls, state: ReservoirState, *, limits: ReservoirLimits, seed: Sequence[int]) -> Reservoir:
        """Go on from a state; where the limits are not those it was kept under, room is measured anew."""
        made = cls(limits, seed=seed)
        made._added = state.added
        if limits == state.limits:
            made._quota = state.quota
        for sample in state.samples:
            made._hold(sample)
        for word, known in state.words.items():
            listed = [state.samples[place].sample for place in known.places]
            made._words[word] = _Word(known.seen, listed)
            for sample_id in listed:
                made._listings[sample_id] += 1
        rng = np.random.default_rng([*made._seed, made._added])
        made._trim(rng)
        made._keep_bounds(rng)
        return made

    def _offer(self, word: str, sample: SampleId, rng: np.random.Generator) -> None:
        known = self._words.setdefault(word, _Word())
        known.seen += 1
        if len(known.listed) < self._quota:
            known.listed.append(sample)
            self._listings[sample] += 1
            return
        place = int(rng.integers(known.seen))
        if place < self._quota:
            replaced, known.listed[place] = known.listed[place], sample
            self._listings[sample] += 1
            self._unlist(replaced)

    def _keep_bounds(self, rng: np.random.Generator) -> None:
        while len(self) > self._limits.capacity or self._inline_bytes > self._limits.inline_bytes:
            if self._quota > 1:
                self._quota -= 1
                self._trim(rng)
            else:
                self.remove(list(self._samples)[rng.integers(len(self))])

    def _trim(self, rng: np.random.Generator) -> None:
        for known in self._words.values():
            while len(known.listed) > self._quota:
                self._unlist(known.listed.pop(int(rng.integers(len(known.listed)))))

    def _hold(self, sample: ReplaySample) -> None:
        self._samples[sample.sample] = sample
        self._listings[sample.sample] = 0
        self._inline_bytes += sample.inline_bytes

    def _unlist(self, sample: SampleId) -> None:
        self._listings[sample] -= 1
        if not self._listings[sample]:
            self._let_go(sample)

    def _let_go(self, sample: SampleId) -> None:
        self._inline_bytes -= self._samples.pop(sample).inline_bytes
        del self._listings[sample]


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
                words.setdefault(word, WordState(0, [])).places += places
        before += len(state.samples)
    for word, known in words.items():
        known.seen = max(len(known.places), seen[word] // ranks)
    return ReservoirState(
        limits=states[0].limits,
        quota=max(state.quota for state in states),
        added=max(state.added for state in states),
        samples=samples,
        words=words,
    )
