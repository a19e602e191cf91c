"""Frequency-aware negatives: L_X's softmax over a large V_C, estimated from the words of the batch and a few others.

Negatives are drawn in proportion to count^0.75. A column that was drawn with expectation m stands for 1 / m words, so
its logit is raised by log(1 / m): the sum in the softmax's denominator is then right in the mean over draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xpm_stream.vocabulary import Vocabulary

COUNT_POWER = 0.75
_REFRESH_EVERY = 100  # draws between two looks at the counts; a walk over 50,000 words is not free


@dataclass(frozen=True, slots=True, kw_only=True)
class WordColumns:
    """Which words of V_C a softmax runs over."""

    rows: Tensor  # int64 [C] of V_C; drawn rows may repeat
    word_columns: Tensor  # int64 [K]: where the K wanted words are among them
    log_multiplicity: Tensor  # [1 + C] to be added to the logits, background first

    def correct(self, logits: Tensor) -> Tensor:
        """Return logits [K, 1 + C] whose softmax estimates the one over all of V_C."""
        return logits + self.log_multiplicity


class NegativeSampler:
    """Draws negatives by frequency; `number` 0 never draws."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._weights: Tensor | None = None  # float64 [V at the last look]
        self._cumulative: Tensor | None = None
        self._draws = 0

    def draw(self, vocabulary: Vocabulary, words: Tensor, *, present: Tensor) -> WordColumns | None:
        """Choose columns for one step; none where V_C is small enough to take it whole.

        Args:
            vocabulary: V_C with its counts.
            words: int64 [K], rows of V_C that must be columns.
            present: int64, further rows that are columns: all words of the batch's captions.
        """
        kept, places = torch.unique(torch.cat([words, present]), return_inverse=True)
        if not self._number or len(vocabulary) <= self._number + len(kept):
            return None
        weights, cumulative = self._distribution(vocabulary, device=words.device)
        # Negatives are words that are not kept anyway; what hits a kept word is struck out.
        kept_weight = weights[kept[kept < len(weights)]].sum()
        places_drawn = torch.rand(self._number, dtype=torch.float64, device=words.device) * cumulative[-1]
        drawn = torch.searchsorted(cumulative, places_drawn, right=True).clamp(max=len(weights) - 1)
        valid = ~torch.isin(drawn, kept)
        expected = valid.sum() * weights[drawn] / (cumulative[-1] - kept_weight)
        of_drawn = torch.where(valid, -expected.log(), -torch.inf).float()
        return WordColumns(
            rows=torch.cat([kept, drawn]),
            word_columns=places[: len(words)],
            log_multiplicity=torch.cat([of_drawn.new_zeros(1 + len(kept)), of_drawn]),
        )

    def forget(self) -> None:
        """Look at the counts anew at the next draw: the vocabulary is another one."""
        self._weights = self._cumulative = None

    def _distribution(self, vocabulary: Vocabulary, *, device: torch.device) -> tuple[Tensor, Tensor]:
        due = self._draws % _REFRESH_EVERY == 0
        self._draws += 1
        if due or self._weights is None or self._cumulative is None or self._weights.device != device:
            counts = torch.tensor(vocabulary.counts, dtype=torch.float64, device=device)
            self._weights = counts.clamp(min=1.0) ** COUNT_POWER  # base words may not have been seen in captions yet
            self._cumulative = self._weights.cumsum(dim=0)
        return self._weights, self._cumulative
