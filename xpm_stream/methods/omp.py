"""OMP (Biertimpel et al., ICCV 2021): where the embedding head answers to the class, the mask is expected."""

from __future__ import annotations

from collections.abc import Sequence

from xpm_stream.config import RunConfig
from xpm_stream.methods.without_labels import WithoutLabels
from xpm_stream.networks.class_embeddings import WordEmbedder


class Omp(WithoutLabels):
    """Adds the per-cell response to the region's class to its mask logits: the true class in training, else the found.

    A response that is alike in all cells adds nothing: it says whether, not where.
    """

    def __init__(self, config: RunConfig, *, base_classes: Sequence[str], embedder: WordEmbedder | None = None) -> None:
        super().__init__(config, base_classes=base_classes, embedder=embedder)
        self._engine.mask_prior_weight = config.omp.prior_weight
