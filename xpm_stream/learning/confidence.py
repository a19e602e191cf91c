"""How sure a network is of a word at its region: what reliability (labels) and loss weights (Table 3) are made of.

Every score is higher where the network is surer; none needs ground truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from xpm_stream.learning.losses import BACKGROUND, word_log_probabilities

# What the class evidence of a word at its region is read from.
EvidenceName = Literal["vocabulary", "caption", "logit"]
Classify = Callable[[Tensor], Tensor]  # embeddings [K, D] -> logits [K, 1 + C], background first


def log_normaliser(
    embeddings: Tensor, table: Tensor, *, logits: Callable[[Tensor, Tensor], Tensor], chunk: int = 4096
) -> Tensor:
    """Log of the softmax's denominator over V_C and the background, in pieces that stay in the processor's cache: [R].

    Args:
        embeddings: [R, D].
        table: [V, D] text embeddings.
        logits: what scores embeddings against some of the table, background first.
        chunk: words scored at once.
    """
    parts = [logits(embeddings, table[:chunk]).logsumexp(dim=1)]
    for start in range(chunk, len(table), chunk):
        parts.append(logits(embeddings, table[start : start + chunk])[:, 1:].logsumexp(dim=1))
    return parts[0] if len(parts) == 1 else torch.stack(parts).logsumexp(dim=0)


def class_score(logits: Tensor, word_indices: Tensor) -> Tensor:
    """Probability of each word at its region, background in the softmax (Table 3's class score): [K]."""
    return word_log_probabilities(logits, background=True).gather(1, word_indices[:, None])[:, 0].exp()


def pixel_score(logits: Tensor) -> Tensor:
    """Mean confidence |2p - 1| of the mask's pixels (Table 3's pixel score), 0..1: [K] from [K, g, g]."""
    return (2 * torch.sigmoid(logits.float()) - 1).abs().mean(dim=(1, 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class DropoutPasses:
    """Monte Carlo dropout on region embeddings."""

    number: int  # passes averaged
    rate: float  # share of the embedding's dimensions that one pass drops

    def certainty(self, embeddings: Tensor, classify: Classify, *, log_multiplicity: Tensor | None = None) -> Tensor:
        """One minus the entropy of the mean class distribution, as a share of its maximum (Table 3): [K] in 0..1.

        Only the text embedding space is dropped: a pass costs one product with the class embeddings.

        Args:
            embeddings: [K, D].
            classify: their logits [K, 1 + C] with the background; called `number` times.
            log_multiplicity: [1 + C], where a sampled column stands for more than one word (see `sampled_words`).
        """
        total = torch.stack(
            [classify(functional.dropout(embeddings, self.rate, training=True)).softmax(1) for _ in range(self.number)]
        )
        mean = total.mean(dim=0)
        own = mean.log() if log_multiplicity is None else mean.log() - log_multiplicity
        entropy = -torch.where(mean > 0, mean * own, 0.0).sum(dim=1)
        classes = float(mean.shape[1]) if log_multiplicity is None else float(log_multiplicity.exp().sum())
        return (1.0 - entropy / math.log(classes)).clamp(0.0, 1.0)


def class_evidence(
    name: EvidenceName, logits: Tensor, word_indices: Tensor, *, caption_words: Sequence[tuple[int, Tensor]]
) -> Tensor:
    """The class evidence of K words at their regions: [K], comparable within a word.

    Args:
        name: log softmax over V_C, log softmax over the words of the image's own captions (background in both), or the
            plain logit (cosine or dot product).
        logits: [K, 1 + V].
        word_indices: int64 [K], rows of V_C.
        caption_words: for each image, how many of the K are its own, and rows of V_C of all its words.
    """
    chosen = logits.gather(1, word_indices[:, None] + 1)[:, 0]
    if name == "logit":
        return chosen
    if name == "vocabulary":
        return chosen - logits.logsumexp(dim=1)
    parts = torch.split(logits, [count for count, _ in caption_words])
    columns = [functional.pad(words + 1, (1, 0), value=BACKGROUND) for _, words in caption_words]
    of_captions = [part[:, kept].logsumexp(dim=1) for part, kept in zip(parts, columns, strict=True)]
    return chosen - torch.cat(of_captions) if of_captions else chosen


def evidence_as_probability(name: EvidenceName, evidence: Tensor) -> Tensor:
    """Class evidence as 0..1 without statistics: the softmax's probability, or for a logit, word against background."""
    return torch.sigmoid(evidence.double()) if name == "logit" else evidence.exp()
