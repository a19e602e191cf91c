"""Trained samples kept to be learnt from again: a uniform sample of each word's, bounded, the same after a resume.

Reservoir sampling (Vitter's Algorithm R) for each word: of n samples of a word, each is kept with probability
min(1, quota / n), so that a word that left the stream keeps a fair picture of all its time there. A sample is listed
under each of its words, and stays while one of them lists it.

A word's quota is `per_word` until the bounds on all samples press; then it falls for the words that have most, by a
random sample of theirs, which leaves what is kept uniform. When there are more words than room, random words leave.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from xpm_stream.learning.reservoir_state import ReplaySample, ReservoirLimits, ReservoirState, WordState
from xpm_stream.records import SampleId

_TRIES: Final = 4  # picks for each sample that a draw is to give: a few words may list the same few samples


@dataclass(slots=True)
class _Word:
    quota: int
    seen: int = 0
    listed: list[SampleId] = field(default_factory=list)
    place: int = 0  # among the words that list as many


class Reservoir:
    """Not safe to share between threads."""

    def __init__(self, limits: ReservoirLimits, *, seed: Sequence[int]) -> None:
        self._limits = limits
        self._seed = list(seed)
        self._added = 0
        self._samples: dict[SampleId, ReplaySample] = {}
        self._listings: dict[SampleId, int] = {}  # under how many words
        self._words: dict[str, _Word] = {}
        # By how many samples they list: who has most, and any of them, is found at once.
        self._by_length: list[list[str]] = [[] for _ in range(limits.per_word + 1)]
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
        """Take note of a trained sample, and keep it if its turn comes under one of its words.

        One that carries more than all samples together may is not kept.
        """
        if sample.sample in self._samples:
            return
        # From the count, not from a generator that goes on: there is no generator's state to keep.
        rng = np.random.default_rng([*self._seed, self._added])
        self._added += 1
        if sample.inline_bytes > self._limits.inline_bytes:
            return
        self._hold(sample)
        for word in dict.fromkeys(sample.words):
            self._offer(word, sample.sample, rng)
        if not self._listings[sample.sample]:
            self._let_go(sample.sample)
        self._keep_bounds(rng)

    def draw(self, count: int, *, rng: np.random.Generator) -> list[ReplaySample]:
        """Return up to `count` different samples: for each a word uniformly, then one of its samples."""
        if count >= len(self._samples):  # all there are; picking would miss some
            return list(self._samples.values())
        words = self._ordered()
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
                self._pop(word, known.listed.index(sample))
        return True

    def state(self) -> ReservoirState:
        """Return everything that is needed to go on exactly from here."""
        places = {sample: place for place, sample in enumerate(self._samples)}
        return ReservoirState(
            limits=self._limits,
            added=self._added,
            samples=list(self._samples.values()),
            words={
                word: WordState(known.seen, known.quota, [places[sample] for sample in known.listed])
                for word in self._ordered()
                for known in [self._words[word]]
            },
        )

    @classmethod
    def from_state(cls, state: ReservoirState, *, limits: ReservoirLimits, seed: Sequence[int]) -> Reservoir:
        """Go on from a state; where the limits are not those it was kept under, room is measured anew."""
        made = cls(limits, seed=seed)
        made._added = state.added
        rng = np.random.default_rng([*made._seed, made._added])
        for sample in state.samples:
            made._hold(sample)
        for word, known in state.words.items():
            quota = known.quota if limits == state.limits else limits.per_word
            places = known.places
            if len(places) > quota:
                places = [places[chosen] for chosen in sorted(rng.choice(len(places), quota, replace=False))]
            made._know(word, _Word(quota, known.seen, [state.samples[place].sample for place in places]))
        for sample_id in [sample_id for sample_id, listings in made._listings.items() if not listings]:
            made._let_go(sample_id)
        made._keep_bounds(rng)
        return made

    def _offer(self, word: str, sample: SampleId, rng: np.random.Generator) -> None:
        known = self._words.get(word)
        if known is None:
            self._know(word, _Word(self._limits.per_word, seen=1, listed=[sample]))
            return
        known.seen += 1
        if len(known.listed) < known.quota:
            self._leave(word)
            known.listed.append(sample)
            self._enter(word)
            self._listings[sample] += 1
            return
        place = int(rng.integers(known.seen))
        if place < known.quota:
            replaced, known.listed[place] = known.listed[place], sample
            self._listings[sample] += 1
            self._unlist(replaced)

    def _keep_bounds(self, rng: np.random.Generator) -> None:
        while len(self) > self._limits.capacity or self._inline_bytes > self._limits.inline_bytes:
            longest = next(words for words in reversed(self._by_length) if words)
            word = longest[rng.integers(len(longest))]
            known = self._words[word]
            known.quota = len(known.listed) - 1
            self._pop(word, int(rng.integers(len(known.listed))))

    def _ordered(self) -> list[str]:
        return [word for words in self._by_length for word in words]

    def _know(self, word: str, known: _Word) -> None:
        self._words[word] = known
        self._enter(word)
        for sample in known.listed:
            self._listings[sample] += 1

    def _pop(self, word: str, place: int) -> None:
        """Take one sample off a word's list; a word without samples is forgotten."""
        known = self._words[word]
        self._leave(word)
        sample = known.listed.pop(place)
        if known.listed:
            self._enter(word)
        else:
            del self._words[word]
        self._unlist(sample)

    def _enter(self, word: str) -> None:
        known = self._words[word]
        peers = self._by_length[len(known.listed)]
        known.place = len(peers)
        peers.append(word)

    def _leave(self, word: str) -> None:
        known = self._words[word]
        peers = self._by_length[len(known.listed)]
        last = peers.pop()
        if last != word:
            peers[known.place] = last
            self._words[last].place = known.place

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
