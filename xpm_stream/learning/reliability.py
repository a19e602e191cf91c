"""Running statistics behind reliability: per-word standardisation, and eta of Eq. 7."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(slots=True)
class WordStatistics:
    """Three floats of one word: how often it was labelled, and mean and spread of its log probability."""

    count: float = 0.0
    mean: float = 0.0
    squares: float = 0.0  # sum of squared deviations from the mean (Welford)

    def add(self, value: float) -> None:
        """Take in one log probability."""
        self.count += 1.0
        delta = value - self.mean
        self.mean += delta / self.count
        self.squares += delta * (value - self.mean)


class StandardisedReliability:
    """u = (l - mean_o) / std_o of a word's log softmax at its region, mapped to 0..1 by the normal distribution.

    Words differ in how easily they are recognised; within one word, an unusually low log probability tells a wrong
    label from a right one (METHODS 1.4). A word with few labels borrows mean and spread of all words, which count as
    `prior_count` labels beside its own.
    """

    def __init__(self, *, prior_count: float = 8.0, min_std: float = 0.1) -> None:
        self._prior_count = prior_count
        self._min_std = min_std  # nats; a spread below this is numerical
        self._words: dict[str, WordStatistics] = {}
        self._all = WordStatistics()
        self._squares_within = 0.0  # summed over words: squared deviations from each word's own mean

    def update(self, words: Sequence[str], log_probabilities: Sequence[float]) -> None:
        """Take in what one batch of labels showed."""
        for word, value in zip(words, log_probabilities, strict=True):
            statistics = self._words.setdefault(word, WordStatistics())
            before = statistics.squares
            statistics.add(value)
            self._squares_within += statistics.squares - before
            self._all.add(value)

    def score(self, word: str, log_probability: float) -> float:
        """Return the reliability of `word` at a region with this log probability, 0..1; 0.5 is usual for the word."""
        mean, std = self._moments(word)
        return 0.5 * (1.0 + math.erf((log_probability - mean) / (std * math.sqrt(2.0))))

    def soften(self, *, keep_count: float = 4.0) -> None:
        """Let each word's past weigh no more than `keep_count` labels: another teacher has other log probabilities."""
        for statistics in self._words.values():
            if statistics.count > keep_count:
                statistics.squares *= keep_count / statistics.count
                statistics.count = keep_count
        self._pool_words()

    def state(self) -> dict[str, Any]:
        """Return a JSON-able state: three floats a word."""
        return {word: [s.count, s.mean, s.squares] for word, s in self._words.items()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a state written by `state()`."""
        self._words = {word: WordStatistics(*map(float, values)) for word, values in state.items()}
        self._pool_words()

    def _pool_words(self) -> None:
        self._all = _pool(self._words.values())
        self._squares_within = sum(statistics.squares for statistics in self._words.values())

    def _moments(self, word: str) -> tuple[float, float]:
        everything = self._all
        if everything.count < 2:
            return everything.mean, 1.0
        own = self._words.get(word, WordStatistics())
        prior = self._prior_count / (own.count + self._prior_count)  # share of all words in this word's statistics
        within = self._squares_within / everything.count
        between = max(everything.squares / everything.count - within, 0.0)
        mean = (1 - prior) * own.mean + prior * everything.mean
        variance = (own.squares + self._prior_count * within) / (own.count + self._prior_count)
        # A mean that is still borrowed is unsure by the spread between words.
        variance += prior**2 * between
        return mean, max(math.sqrt(variance), self._min_std)


class WordMeans:
    """Running mean of a value by word; what was seen long ago counts less."""

    def __init__(self, *, memory: float = 100.0) -> None:
        self._memory = memory  # labels of a word after which a new one weighs 1 / memory
        self._words: dict[str, list[float]] = {}  # count (up to memory), mean

    def update(self, words: Sequence[str], values: Sequence[float]) -> None:
        """Take in what one batch of labels showed."""
        for word, value in zip(words, values, strict=True):
            entry = self._words.setdefault(word, [0.0, 0.0])
            entry[0] = min(entry[0] + 1.0, self._memory)
            entry[1] += (value - entry[1]) / entry[0]

    def of(self, words: Sequence[str]) -> list[float]:
        """The means of words that were seen before.

        Raises:
            KeyError: one of them was not.
        """
        return [self._words[word][1] for word in words]

    def state(self) -> dict[str, Any]:
        """Return a JSON-able state: two floats a word."""
        return {word: list(entry) for word, entry in self._words.items()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a state written by `state()`."""
        self._words = {word: [float(value) for value in entry] for word, entry in state.items()}


def _pool(parts: Iterable[WordStatistics]) -> WordStatistics:
    total = WordStatistics()
    for part in parts:
        count = total.count + part.count
        if count == 0:
            continue
        delta = part.mean - total.mean
        total.squares += part.squares + delta**2 * total.count * part.count / count
        total.mean += delta * part.count / count
        total.count = count
    return total


class EtaWindow:
    """Eq. 7's eta, measured: a low quantile of the objects' mean noise over a window, frozen between promotions.

    The paper takes the smallest mean noise of 10,000 images, offline; a stream has no such set, and one outlier would
    set a minimum for ever. Until the first freeze, eta follows the window.
    """

    def __init__(self, *, quantile: float, fixed: float | None = None, size: int = 10_000) -> None:
        self._quantile = quantile
        self._fixed = fixed
        self._noises: deque[float] = deque(maxlen=size)
        self._frozen: float | None = None

    def add(self, noises: Iterable[float]) -> None:
        """Take in mean noises of objects."""
        self._noises.extend(noises)

    def freeze(self) -> None:
        """Measure eta anew and hold it; nothing seen, nothing changed."""
        if self._noises:
            self._frozen = self._measure()

    @property
    def eta(self) -> float | None:
        """The value to use now; none before any noise was seen."""
        if self._fixed is not None:
            return self._fixed
        if self._frozen is not None:
            return self._frozen
        return self._measure() if self._noises else None

    def state(self) -> dict[str, Any]:
        """Return a JSON-able state: the frozen value (the window fills again within a few steps)."""
        return {"frozen": self._frozen}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a state written by `state()`."""
        frozen = state.get("frozen")
        self._frozen = None if frozen is None else float(frozen)

    def _measure(self) -> float:
        return float(np.quantile(np.fromiter(self._noises, dtype=np.float64), self._quantile))
