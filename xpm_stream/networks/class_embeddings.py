"""Text embeddings of words by name, computed once each, and the growing matrix of a vocabulary on its device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


class WordEmbedder(Protocol):
    """Turns words into vectors; `networks.text_encoder.TextEmbedder` does."""

    def embed(self, words: Sequence[str]) -> Tensor:
        """Return float32 [N, D] for N words, in order."""
        ...


class ClassEmbeddings:
    """v_o for any word, the same in teacher and student: what the encoder gives, cached by word."""

    def __init__(self, embedder: WordEmbedder) -> None:
        self._embedder = embedder
        self._rows: dict[str, int] = {}
        self._table: Tensor | None = None  # [capacity, D], filled to len(_rows)

    def of(self, words: Sequence[str], *, device: torch.device) -> Tensor:
        """Return [N, D] for `words`, in order; words not met before are embedded in one call."""
        if not words:
            return torch.zeros((0, self.dimension), device=device)
        self._admit(words)
        assert self._table is not None
        if self._table.device != device:
            self._table = self._table.to(device)
        rows = [self._rows[word] for word in words]
        if rows == list(range(len(rows))):
            return self._table[: len(rows)]  # a vocabulary asked for in its own order: no copy
        return self._table[torch.tensor(rows, device=device)]

    @property
    def dimension(self) -> int:
        """D, the width of the text space."""
        if self._table is None:
            self._admit(["object"])
        assert self._table is not None
        return int(self._table.shape[1])

    def _admit(self, words: Sequence[str]) -> None:
        missing = [word for word in dict.fromkeys(words) if word not in self._rows]
        if not missing:
            return
        new = self._embedder.embed(missing).detach().float()
        filled, wanted = len(self._rows), len(self._rows) + len(missing)
        if self._table is None or self._table.shape[0] < wanted:
            # Doubling, so that a vocabulary of N words costs O(N) copies.
            grown = new.new_zeros((max(256, 2 * wanted), new.shape[1]))
            if self._table is not None:
                grown = grown.to(self._table.device)
                grown[:filled] = self._table[:filled]
            self._table = grown
        self._table[filled:wanted] = new.to(self._table.device)
        self._rows.update({word: filled + index for index, word in enumerate(missing)})
