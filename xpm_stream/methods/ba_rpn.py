"""BA-RPN (Zheng et al., CVPR 2021): the proposal network decides what is background for the embedding head too."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from xpm_stream.config import RunConfig
from xpm_stream.engines.base import Features
from xpm_stream.methods.without_labels import WithoutLabels
from xpm_stream.networks.class_embeddings import WordEmbedder


class BaRpn(WithoutLabels):
    """A region's background logit is what its objectness logit is below zero.

    The background classifier is the proposal network's: the embedding head's loss does not train it (detached).
    """

    def __init__(self, config: RunConfig, *, base_classes: Sequence[str], embedder: WordEmbedder | None = None) -> None:
        super().__init__(config, base_classes=base_classes, embedder=embedder)
        self._engine.background = self._background

    def _background(self, features: Features, boxes_xyxy: Sequence[Tensor], embeddings: Tensor) -> Tensor:
        return -self._engine.objectness(features, boxes_xyxy).detach()
