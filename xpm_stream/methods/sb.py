"""SB (Bansal et al., ECCV 2018): a static background embedding of norm one instead of zero."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from xpm_stream.config import RunConfig
from xpm_stream.engines.base import Features
from xpm_stream.methods.without_labels import WithoutLabels
from xpm_stream.networks.class_embeddings import WordEmbedder


class Sb(WithoutLabels):
    """The background is the vector (1, 0, ..., 0), so that its score differs from region to region."""

    def __init__(self, config: RunConfig, *, base_classes: Sequence[str], embedder: WordEmbedder | None = None) -> None:
        super().__init__(config, base_classes=base_classes, embedder=embedder)
        self._engine.background = self._background

    def _background(self, features: Features, boxes_xyxy: Sequence[Tensor], embeddings: Tensor) -> Tensor:
        """Score it as any class is scored: [R]."""
        unit = embeddings.new_zeros((1, embeddings.shape[1]))
        unit[0, 0] = 1.0
        return self._engine.logits(embeddings, unit)[:, 1]
