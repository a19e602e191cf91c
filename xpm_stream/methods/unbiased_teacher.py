"""Unbiased Teacher (Liu et al., ICLR 2021), with masks, as a visual-only rival of XPM.

Detections above a threshold are pseudo truth; a focal loss works against the bias towards frequent classes; neither
proposals nor boxes are regressed on caption images, as confidence says nothing of where a box is.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from xpm_stream.config import RunConfig
from xpm_stream.engines.base import Features
from xpm_stream.learning.focal import focal_loss
from xpm_stream.learning.losses import BACKGROUND
from xpm_stream.methods.region_batch import PseudoTruth
from xpm_stream.methods.visual_teacher import VisualTeacher
from xpm_stream.networks.class_embeddings import WordEmbedder


class UnbiasedTeacher(VisualTeacher):
    """A threshold and a focal loss."""

    def __init__(self, config: RunConfig, *, base_classes: Sequence[str], embedder: WordEmbedder | None = None) -> None:
        super().__init__(config, base_classes=base_classes, section=config.unbiased_teacher, embedder=embedder)
        self._unbiased = config.unbiased_teacher
        self._focal = partial(focal_loss, gamma=config.unbiased_teacher.focal_gamma)
        self._engine.classification_loss = self._focal  # on base images too

    @property
    def kept_above(self) -> float:
        """What goes into a label is trained on."""
        return self._unbiased.score_threshold

    def caption_losses(self, features: Features, pseudo: Sequence[PseudoTruth]) -> dict[str, Tensor]:
        """Objectness, classes and masks; no regression."""
        regions = self.classify(features, pseudo)
        class_weights = regions.logits.new_ones(regions.logits.shape[1])
        class_weights[BACKGROUND] = self._config.model.background_weight
        classification = self._focal(regions.logits, regions.targets, class_weights=class_weights)
        rpn = self._engine.proposal_losses(features, [target.boxes_xyxy for target in pseudo])
        weight = self._unbiased.weight
        return {
            "pseudo_rpn_objectness": weight * rpn["rpn_objectness"],
            "pseudo_classification": weight * classification,
            "pseudo_mask": weight * self._unbiased.mask_weight * self.mask_loss(features, pseudo),
        }
