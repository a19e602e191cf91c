"""Soft Teacher (Xu et al., ICCV 2021), with masks, as a visual-only rival of XPM.

Classes are learnt from very confident detections only; background counts as much as the teacher is sure of it; boxes
are learnt from detections that the teacher refines alike from shaken copies, though their class may be less sure.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor

from xpm_stream.config import RunConfig
from xpm_stream.engines.base import Detections, Features
from xpm_stream.errors import MessageError
from xpm_stream.learning.box_jitter import RELIABLE, box_deviation, jitter_boxes, jitter_reliability
from xpm_stream.learning.region_matching import UNMATCHED, match_regions
from xpm_stream.learning.soft_background import soft_background_loss
from xpm_stream.methods.base import CaptionImage
from xpm_stream.methods.region_batch import PseudoTruth
from xpm_stream.methods.teacher_student import Scene
from xpm_stream.methods.visual_teacher import VisualTeacher, confident_part
from xpm_stream.networks.class_embeddings import WordEmbedder


class SoftTeacher(VisualTeacher):
    """Soft background and box jitter."""

    def __init__(self, config: RunConfig, *, base_classes: Sequence[str], embedder: WordEmbedder | None = None) -> None:
        super().__init__(config, base_classes=base_classes, section=config.soft_teacher, embedder=embedder)
        self._soft = config.soft_teacher

    @property
    def kept_above(self) -> float:
        """Candidates for box regression are less sure than those for classes."""
        return min(self._soft.box_score_threshold, self._soft.score_threshold)

    def box_reliability(
        self, scene: Scene, boxes_xyxy: Sequence[Tensor], images: Sequence[CaptionImage]
    ) -> list[Tensor]:
        """Shake each box, let the teacher refine the copies, and see how far they scatter."""
        # Seeded by the sample: a label made twice is the same.
        seeds = [zlib.crc32(str(image.sample).encode()) for image in images]
        return self._steadiness(scene.features, boxes_xyxy, seeds=seeds)

    def rate(self, features: Features, found: Sequence[Detections], *, words: Sequence[str]) -> list[Tensor]:
        """Box jitter, as labels have it."""
        return self._steadiness(features, [one.boxes_xyxy for one in found], seeds=[0] * len(found))

    def _steadiness(self, features: Features, boxes_xyxy: Sequence[Tensor], *, seeds: Sequence[int]) -> list[Tensor]:
        shaken = [
            jitter_boxes(
                boxes,
                copies=self._soft.jitters,
                scale=self._soft.jitter_scale,
                generator=torch.Generator().manual_seed(seed),
            )
            for boxes, seed in zip(boxes_xyxy, seeds, strict=True)
        ]
        refined = self._engine.embed_regions(features, [one.flatten(0, 1) for one in shaken]).refined_xyxy
        return [
            jitter_reliability(
                box_deviation(copies.reshape(len(boxes), self._soft.jitters, 4), boxes),
                max_deviation=self._soft.max_box_deviation,
            )
            for copies, boxes in zip(refined, boxes_xyxy, strict=True)
        ]

    def caption_losses(self, features: Features, pseudo: Sequence[PseudoTruth]) -> dict[str, Tensor]:
        """Proposals, classes and masks of confident instances; boxes of reliable ones."""
        confident = [confident_part(target, above=self._soft.score_threshold) for target in pseudo]
        regions = self.classify(features, confident)
        classification = soft_background_loss(
            regions.logits,
            regions.targets,
            background_scores=regions.background_scores,
            background_weight=self._config.model.background_weight,
        )
        rpn = self._engine.proposal_losses(features, [target.boxes_xyxy for target in confident])
        for target in pseudo:
            self._observe("reliability", target.given_reliability)
        weight = self._soft.weight
        return {
            "pseudo_rpn_objectness": weight * rpn["rpn_objectness"],
            "pseudo_rpn_box": weight * rpn["rpn_box"],
            "pseudo_classification": weight * classification,
            "pseudo_box": weight * self._box_loss(features, pseudo),
            "pseudo_mask": weight * self._soft.mask_weight * self.mask_loss(features, confident),
        }

    def _box_loss(self, features: Features, pseudo: Sequence[PseudoTruth]) -> Tensor:
        """Mean over the proposals that overlap a reliable instance; those regress to it."""
        boxes, wanted = [], []
        for target in pseudo:
            given = target.given_reliability
            if len(given) != len(target.instance_words):
                raise MessageError(
                    "a label without box reliability cannot teach soft_teacher: give each method its own queue"
                )
            trust = torch.tensor(given, device=target.boxes_xyxy.device)
            reliable = target.boxes_xyxy[trust >= RELIABLE]
            matched = match_regions(target.proposals_xyxy, reliable)
            chosen = matched != UNMATCHED
            boxes.append(target.proposals_xyxy[chosen])
            wanted.append(reliable[matched[chosen]])
        losses = self._engine.box_losses(features, boxes, wanted)
        return losses.sum() / max(len(losses), 1)
