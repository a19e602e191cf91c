"""Which class names a method may give to objects on caption images: `classes` of its section of the configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Literal

from xpm_stream.data.splits import load_split
from xpm_stream.vocabulary import Vocabulary

ClassChoice = Literal["base", "split", "vocabulary"]


class KnownClasses:
    """The names, in a stable order: base classes first, and what comes later only at the end."""

    def __init__(
        self,
        choice: ClassChoice,
        *,
        base_classes: Sequence[str],
        split_file: str,
        vocabulary: Callable[[], Vocabulary],
    ) -> None:
        """`vocabulary` gives V_C as it is now; `split_file` is read where the choice is `split`.

        It is read when the names are asked for: who only detects does not need it, and a checkpoint that was handed on
        names a file of its first machine.
        """
        self._base_classes = list(base_classes)
        self._split_file = split_file if choice == "split" else None
        self._vocabulary = vocabulary if choice == "vocabulary" else None

    @property
    def names(self) -> Sequence[str]:
        """The class names by index.

        Raises:
            ConfigError: the split cannot be read.
        """
        return self._names if self._vocabulary is None else self._vocabulary().words

    @cached_property
    def _names(self) -> list[str]:
        targets = load_split(self._split_file).target if self._split_file is not None else []
        return list(dict.fromkeys([*self._base_classes, *targets]))

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self._names)}

    def indices(self, words: Sequence[str]) -> list[int | None]:
        """Return the index of each word, none for words that are no class (here, or not yet)."""
        find = self._index.get if self._vocabulary is None else self._vocabulary().get
        return [find(word) for word in words]
