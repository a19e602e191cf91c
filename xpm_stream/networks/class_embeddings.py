"""Text embeddings of words by name, computed once each, and the growing matrix of a vocabulary on its device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from xpm_stream.vocabulary import Vocabulary


class WordEmbedder(Protocol):
    """Turns words into vectors; `networks.text_encoder.TextEmbedder` does."""

    @property
    def dimension(self) -> int:
        """D, the width of the text space."""
        ...

    def embed(self, words: Sequence[str]) -> Tensor:
        """Return float32 [N, D] for N words, in order."""
        ...


class _GrowingTable:
    """Rows [N, D] that are added at the end; doubling, so that N rows cost O(N) copies.

    Rows are ordinary tensors also where a labelling pass, in inference mode, was the first to ask for them.
    """

    def __init__(self) -> None:
        self._rows: Tensor | None = None  # [capacity, D]
        self._filled = 0

    def __len__(self) -> int:
        return self._filled

    @torch.inference_mode(mode=False)
    def append(self, new: Tensor) -> None:
        """Add rows [n, D]."""
        wanted = self._filled + len(new)
        if self._rows is None or self._rows.shape[0] < wanted:
            grown = new.new_zeros((max(256, 2 * wanted), new.shape[1]))
            if self._rows is not None:
                grown = grown.to(self._rows.device)
                grown[: self._filled] = self._rows[: self._filled]
            self._rows = grown
        # Behind autograd's back: what was given out ends before these rows, but shares their storage, and a loss that
        # keeps it for its gradient (dot-product logits do) would else be told that it was changed.
        self._rows.data[self._filled : wanted] = new.to(self._rows.device)
        self._filled = wanted

    @torch.inference_mode(mode=False)
    def on(self, device: torch.device) -> Tensor:
        """All rows on `device`, without a copy where they are there already."""
        assert self._rows is not None, "nothing was ever added"
        if self._rows.device != device:
            self._rows = self._rows.to(device)
        return self._rows[: self._filled]


class ClassEmbeddings:
    """v_o for any word, the same in teacher and student: what the encoder gives, cached by word."""

    def __init__(self, embedder: WordEmbedder) -> None:
        self._embedder = embedder
        self._rows: dict[str, int] = {}
        self._table = _GrowingTable()

    def of(self, words: Sequence[str], *, device: torch.device) -> Tensor:
        """Return [N, D] for `words`, in order; words not met before are embedded in one call."""
        if not words:
            return torch.zeros((0, self.dimension), device=device)
        self._admit(words)
        rows = [self._rows[word] for word in words]
        if rows == list(range(len(rows))):
            return self._table.on(device)[: len(rows)]  # a vocabulary asked for in its own order: no copy
        return self._table.on(device)[torch.tensor(rows, device=device)]

    @property
    def dimension(self) -> int:
        """D, the width of the text space."""
        return self._embedder.dimension

    def _admit(self, words: Sequence[str]) -> None:
        missing = [word for word in dict.fromkeys(words) if word not in self._rows]
        if missing:
            self._rows.update({word: len(self._table) + index for index, word in enumerate(missing)})
            self._table.append(self._embedder.embed(missing).detach().float())


class VocabularyEmbeddings:
    """v_o of one vocabulary by its indices: a step with new words embeds those, and copies nothing of the others."""

    def __init__(self, embeddings: ClassEmbeddings) -> None:
        self._embeddings = embeddings
        self._vocabulary: Vocabulary | None = None
        self._table = _GrowingTable()

    def of(self, vocabulary: Vocabulary, *, device: torch.device) -> Tensor:
        """Return [V, D]; a vocabulary other than the last one starts anew."""
        if vocabulary is not self._vocabulary:
            self._vocabulary, self._table = vocabulary, _GrowingTable()
        new = vocabulary.words_from(len(self._table))
        if new:
            self._table.append(self._embeddings.of(new, device=device))
        return self._table.on(device) if len(self._table) else self._embeddings.of([], device=device)
