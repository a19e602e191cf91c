"""The loss weightings of the paper's Table 3, and three by the label's own reliability: what each does to L_M, L_X."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from xpm_stream.config.method_sections import WeightingName
from xpm_stream.learning.confidence import Classify, DropoutPasses, class_score, pixel_score
from xpm_stream.learning.losses import noise_reliability

_MOST_OF_USUAL: Final = 2.0  # one label weighs at most twice what is usual for its word


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentEvidence:
    """What the student's heads say of K pseudo instances with a known word, before any loss."""

    logits: Tensor  # [K, 1 + C]
    word_columns: Tensor  # int64 [K], of the logits without the background
    embeddings: Tensor  # [K, D]
    classify: Classify  # embeddings to logits
    log_multiplicity: Tensor | None  # [1 + C], where the columns are a sample of V_C
    mask_logits: Tensor  # [K, g, g]
    noise: Tensor  # [K] mean noise, of the object or of its image
    eta: float | None  # Eq. 7's; none before any noise was seen
    limit_alpha: bool
    dropout: DropoutPasses
    reliability: Tensor  # [K] of the label, as its teacher gave it; 1 where it gave none
    usual_reliability: Tensor  # [K] mean of the word's labels so far


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighting:
    """What sets one row of Table 3 apart."""

    noise_in_mask_loss: bool  # Eq. 6; else Eq. 5
    weigh: Callable[[StudentEvidence], Tensor] | None  # of L_X, [K]; none: every word weighs the same


def find_weighting(name: WeightingName) -> Weighting:
    """Return the strategy called `name` in the configuration."""
    return WEIGHTINGS[name]


@torch.no_grad()
def weigh_words(weighting: Weighting, evidence: StudentEvidence) -> Tensor | None:
    """The weights of L_X, [K], without a graph: a weight that learnt would fall to zero. None: all alike."""
    return None if weighting.weigh is None else weighting.weigh(evidence)


def noise_of_images(noise: Tensor, objects_of_images: Sequence[int]) -> Tensor:
    """Give each object the mean noise of all objects of its image, as the released code does: [K] from [K]."""
    parts = torch.split(noise, list(objects_of_images))
    return torch.cat([part.mean().expand_as(part) if len(part) else part for part in parts]) if parts else noise


def _alpha(evidence: StudentEvidence) -> Tensor:
    if evidence.eta is None:
        return torch.ones_like(evidence.noise)
    return noise_reliability(evidence.noise, eta=evidence.eta, limit=evidence.limit_alpha)


def _dropout_certainty(evidence: StudentEvidence) -> Tensor:
    return evidence.dropout.certainty(
        evidence.embeddings, evidence.classify, log_multiplicity=evidence.log_multiplicity
    )


def _within_word(evidence: StudentEvidence) -> Tensor:
    """Reliability against what is usual for the word: a word that is hard to recognise is not silenced."""
    return (evidence.reliability / evidence.usual_reliability.clamp(min=1e-3)).clamp(max=_MOST_OF_USUAL)


def _annealed(evidence: StudentEvidence) -> Tensor:
    """Reliability counts as far as the word is usually trusted: a teacher that hardly knows a word cannot judge it."""
    return 1 - evidence.usual_reliability * (1 - evidence.reliability)


WEIGHTINGS: Final[Mapping[WeightingName, Weighting]] = {
    "none": Weighting(noise_in_mask_loss=False, weigh=None),
    "stochastic": Weighting(noise_in_mask_loss=True, weigh=None),
    "class_score": Weighting(noise_in_mask_loss=False, weigh=lambda e: class_score(e.logits, e.word_columns)),
    "pixel_score": Weighting(noise_in_mask_loss=False, weigh=lambda e: pixel_score(e.mask_logits)),
    "dropout_entropy": Weighting(noise_in_mask_loss=False, weigh=_dropout_certainty),
    "robust": Weighting(noise_in_mask_loss=True, weigh=_alpha),
    "label": Weighting(noise_in_mask_loss=True, weigh=lambda e: e.reliability),
    "label_within_word": Weighting(noise_in_mask_loss=True, weigh=_within_word),
    "label_annealed": Weighting(noise_in_mask_loss=True, weigh=_annealed),
}
