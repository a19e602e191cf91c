"""The caption vocabulary V_C: words with indices that never change, counts, and a bound on its size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from xpm_stream.errors import TextError

STATE_VERSION = 1


class Vocabulary:
    """Ordered words, base words first; a word keeps its index for ever, also across `state()` and `from_state()`.

    Growth is bounded in memory and in size. A word is admitted once it has been seen `min_count` times while there is
    room; nothing admitted is ever evicted, because indices live on in checkpoints and labels. What finds no room is
    counted in `refused`. Words still waiting for `min_count` are kept in a table of at most `max_size` entries; when it
    is full all waiting counts are halved and the rarest leave it (lossy counting), so frequent words still get in.

    Example:
        >>> vocabulary = Vocabulary(["dog", "cat"], max_size=3)
        >>> vocabulary.add(["cat", "sofa", "kite"])
        [1, 2, None]
        >>> vocabulary.refused
        1
    """

    def __init__(self, base_words: Iterable[str] = (), *, max_size: int = 50_000, min_count: int = 1) -> None:
        """Start from `base_words`, in their order, with count 0.

        Raises:
            TextError: on an empty or repeated base word, or more base words than `max_size`.
        """
        if max_size < 1 or min_count < 1:
            raise TextError(f"vocabulary needs max_size >= 1 and min_count >= 1, not {max_size} and {min_count}")
        self._words: list[str] = []
        self._counts: list[int] = []
        self._index: dict[str, int] = {}
        self._waiting: dict[str, int] = {}
        self._max_size = max_size
        self._min_count = min_count
        self._refused = 0
        for word in base_words:
            if word in self._index:
                raise TextError(f"base word {word!r} is given twice; each word of a vocabulary is unique")
            self._append(word, 0)
        self._num_base = len(self._words)
        if self._num_base > max_size:
            raise TextError(
                f"{self._num_base} base words do not fit into a vocabulary of {max_size}; raise text.max_vocabulary"
            )

    @property
    def words(self) -> Sequence[str]:
        """All words by index. A new list at each call, so holding on to one is safe."""
        return list(self._words)

    def words_from(self, start: int) -> list[str]:
        """The words from index `start` on, in order: what has come since the vocabulary had `start` words."""
        return self._words[start:]

    @property
    def counts(self) -> Sequence[int]:
        """How often each word was added since it was first seen, by index (for frequency-aware negatives)."""
        return list(self._counts)

    @property
    def num_base(self) -> int:
        """How many of the first words are base words."""
        return self._num_base

    @property
    def max_size(self) -> int:
        """Upper bound on the number of words."""
        return self._max_size

    @property
    def min_count(self) -> int:
        """How often a word must be seen to be admitted."""
        return self._min_count

    @property
    def refused(self) -> int:
        """How many mentions of words found the vocabulary full."""
        return self._refused

    def add(self, words: Iterable[str]) -> list[int | None]:
        """Count one mention of each word and admit what is due.

        Returns:
            The index of each word, in order; None for a word that is not admitted (seen too rarely yet, or no room).
        """
        return [self._add_one(word) for word in words]

    def index(self, word: str) -> int:
        """The index of `word`.

        Raises:
            TextError: if the word is not in the vocabulary.
        """
        found = self._index.get(word)
        if found is None:
            raise TextError(f"word {word!r} is not in the vocabulary of {len(self)} words; add() it first")
        return found

    def get(self, word: str) -> int | None:
        """The index of `word`, or None."""
        return self._index.get(word)

    def state(self) -> dict[str, Any]:
        """Everything needed to go on elsewhere, as JSON-able values."""
        return {
            "version": STATE_VERSION,
            "words": list(self._words),
            "counts": list(self._counts),
            "num_base": self._num_base,
            "max_size": self._max_size,
            "min_count": self._min_count,
            "waiting": dict(self._waiting),
            "refused": self._refused,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Vocabulary:
        """The vocabulary that `state()` described.

        Raises:
            TextError: if the state is of another version or contradicts itself.
        """
        version = state.get("version")
        if version != STATE_VERSION:
            raise TextError(
                f"vocabulary state of version {version!r} cannot be read; this release reads {STATE_VERSION}"
            )
        try:
            words, counts = list(state["words"]), [int(count) for count in state["counts"]]
            num_base = int(state["num_base"])
            vocabulary = cls(words[:num_base], max_size=int(state["max_size"]), min_count=int(state["min_count"]))
            waiting = {str(word): int(count) for word, count in state["waiting"].items()}
            refused = int(state["refused"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TextError(f"vocabulary state is damaged ({error!r}); restore an earlier checkpoint") from error
        if (
            len(words) != len(counts)
            or len(set(words)) != len(words)
            or not num_base <= len(words) <= vocabulary.max_size
        ):
            raise TextError(
                "vocabulary state is damaged: words, counts and sizes disagree; restore an earlier checkpoint"
            )
        for word in words[num_base:]:
            vocabulary._append(word, 0)
        vocabulary._counts = counts
        vocabulary._waiting = waiting
        vocabulary._refused = refused
        return vocabulary

    def __len__(self) -> int:
        return len(self._words)

    def __contains__(self, word: object) -> bool:
        return word in self._index

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._words))

    def _add_one(self, word: str) -> int | None:
        found = self._index.get(word)
        if found is not None:
            self._counts[found] += 1
            return found
        if len(self._words) >= self._max_size:
            self._refused += 1
            return None
        seen = self._waiting.pop(word, 0) + 1
        if seen >= self._min_count:
            return self._append(word, seen)
        self._waiting[word] = seen
        if len(self._waiting) > self._max_size:
            self._waiting = {waiting: count // 2 for waiting, count in self._waiting.items() if count >= 2}
        return None

    def _append(self, word: str, count: int) -> int:
        if not word:
            raise TextError("the empty string cannot be a word of the vocabulary")
        self._index[word] = len(self._words)
        self._words.append(word)
        self._counts.append(count)
        return len(self._words) - 1
