"""XPM: robust cross-modal pseudo-labeling (Huynh et al., CVPR 2022). Equations are in learning/losses.py.

How words are kept apart. L_GT classifies base images over the base classes and background only, so a base negative is
never a negative for a caption word. An unlabelled target object in a base image may still be sampled as background;
with the background embedding at zero this says only "no base class here" (weight `model.background_weight`), and L_X,
whose softmax runs over all of V_C, answers for the caption words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from xpm_stream.config import RunConfig
from xpm_stream.engines.base import Features
from xpm_stream.learning.assignment import find_assignment
from xpm_stream.learning.losses import (
    binarise_mask,
    cross_modal_loss,
    mean_noise,
    noise_reliability,
    noisy_mask_loss,
    pixel_score,
    pseudo_mask_loss,
    word_log_probabilities,
)
from xpm_stream.learning.reliability import EtaWindow, StandardisedReliability
from xpm_stream.masks import pack_mask_bits
from xpm_stream.methods.base import CaptionImage
from xpm_stream.methods.region_batch import PseudoTruth
from xpm_stream.methods.teacher_student import Scene, TeacherStudent
from xpm_stream.records import Annotation, InstanceAnnotation, PseudoInstance


class Xpm(TeacherStudent):
    """The teacher gives each caption word a region, mask and reliability; the student learns them beside base truth."""

    def __init__(self, config: RunConfig, *, base_classes: Sequence[str]) -> None:
        super().__init__(config, base_classes=base_classes)
        self._xpm = config.xpm
        self._assign = find_assignment(config.xpm.assignment, block_iou=config.xpm.block_iou)
        self._standardised = StandardisedReliability()
        self._eta = EtaWindow(quantile=config.xpm.eta_quantile, fixed=config.xpm.eta)
        self._steps_since_freeze = 0

    @torch.inference_mode()
    def label(self, images: Sequence[CaptionImage]) -> list[Annotation]:
        """Give each word a region (Eq. 2 or the exclusive form), a mask (Eq. 4), a score and a reliability."""
        if not images:
            return []
        for image in images:
            self.vocabulary.add(image.words)
        scene = self._look([image.pixels for image in images])
        chosen = self._choose(scene, images)
        boxes = [scene.regions.refined_xyxy[index][regions] for index, (_, regions, _) in enumerate(chosen)]
        masks = self._engine.segment_regions(scene.features, boxes)
        words = [word for image_words, _, _ in chosen for word in image_words]
        log_probabilities = torch.cat([values for _, _, values in chosen]).cpu()
        reliability = self._reliability(words, log_probabilities, logits=masks.logits, noise=masks.noise_log_variance)
        grids = binarise_mask(masks.logits).cpu().numpy()
        stored = torch.cat([g.boxes_to_stored(b) for g, b in zip(scene.geometries, boxes, strict=True)]).cpu().tolist()
        instances = [
            PseudoInstance(
                word=word,
                box_xyxy=(box[0], box[1], box[2], box[3]),
                mask_bits=pack_mask_bits(grid),
                score=score,
                reliability=trust,
            )
            for word, box, grid, score, trust in zip(
                words, stored, grids, log_probabilities.exp().tolist(), reliability, strict=True
            )
        ]
        self._observe("reliability", reliability)
        annotations: list[Annotation] = []
        start = 0
        for image_words, _, _ in chosen:
            annotations.append(InstanceAnnotation(instances=instances[start : start + len(image_words)]))
            start += len(image_words)
        return annotations

    def caption_losses(self, features: Features, pseudo: Sequence[PseudoTruth]) -> dict[str, Tensor]:
        """L_X (Eq. 3, weighted by Eq. 7 with `weighting: robust`) and L_M (Eq. 6, or Eq. 5) at the boxes b_o."""
        boxes = [target.boxes_xyxy for target in pseudo]
        regions = self._engine.embed_regions(features, boxes)
        masks = self._engine.segment_regions(features, boxes)
        targets = torch.cat([target.masks for target in pseudo])
        noise = mean_noise(masks.noise_log_variance)
        alpha = self._alpha(noise)
        words = [word for target in pseudo for word in target.instance_words]
        # A word the full vocabulary refused has no class to learn; its mask still teaches.
        known = [index for index, word in enumerate(words) if word in self.vocabulary]
        rows = torch.tensor(known, dtype=torch.int64, device=noise.device)
        indices = torch.tensor([self.vocabulary.index(words[row]) for row in known], dtype=torch.int64)
        logits = self._engine.logits(regions.embeddings[rows], self._vocabulary_embeddings())
        cross_modal = cross_modal_loss(
            logits,
            indices.to(noise.device),
            background=self._xpm.background_in_cross_modal,
            weights=None if alpha is None else alpha[rows],
        )
        if self._xpm.noise_in_mask_loss:
            epsilon = torch.randn_like(masks.logits)
            mask = noisy_mask_loss(masks.logits, targets, noise_log_variance=masks.noise_log_variance, epsilon=epsilon)
        else:
            mask = pseudo_mask_loss(masks.logits, targets)
        for target in pseudo:
            self._observe("reliability", target.reliability)
        return {
            "cross_modal": self._xpm.cross_modal_weight * cross_modal,
            "pseudo_mask": self._xpm.mask_weight * mask,
        }

    def teacher_changed(self) -> None:
        """Let the next labels rule the per-word statistics: they belonged to other weights."""
        self._standardised.soften()

    def state(self) -> dict[str, Any]:
        """Vocabulary, per-word statistics, and eta."""
        return super().state() | {"reliability": self._standardised.state(), "eta": self._eta.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a state; a trainer's state has no per-word statistics, and then a labeler keeps its own."""
        super().load_state(state)
        if state.get("reliability"):
            self._standardised.load_state(state["reliability"])
        self._eta.load_state(state.get("eta", {}))

    def _choose(self, scene: Scene, images: Sequence[CaptionImage]) -> list[tuple[list[str], Tensor, Tensor]]:
        """For each image: the words that got a region, its proposal, and its log probability."""
        logits = self._engine.logits(scene.regions.embeddings, self._vocabulary_embeddings())
        over_vocabulary = self._xpm.assignment_context == "vocabulary"
        scores = word_log_probabilities(logits, background=True) if over_vocabulary else logits
        parts = torch.split(scores, [len(boxes) for boxes in scene.proposals])
        chosen = []
        for image, part, boxes in zip(images, parts, scene.regions.refined_xyxy, strict=True):
            words = [word for word in image.words if word in self.vocabulary]
            columns = torch.tensor([self.vocabulary.index(word) for word in words], dtype=torch.int64)
            columns = columns.to(part.device)
            if over_vocabulary:
                own = part[:, columns]
            else:
                own = word_log_probabilities(torch.cat([part[:, :1], part[:, columns + 1]], dim=1), background=True)
            found = self._assign(own.T, boxes)
            kept = torch.nonzero(found >= 0)[:, 0]
            regions = found[kept]
            chosen.append(([words[index] for index in kept.tolist()], regions, own[regions, kept]))
        return chosen

    def _reliability(self, words: Sequence[str], values: Tensor, *, logits: Tensor, noise: Tensor) -> list[float]:
        if self._xpm.reliability == "standardised":
            listed = values.tolist()
            self._standardised.update(words, listed)
            return [self._standardised.score(word, value) for word, value in zip(words, listed, strict=True)]
        if self._xpm.reliability == "class_score":
            return values.exp().tolist()
        if self._xpm.reliability == "pixel_score":
            return pixel_score(logits).tolist()
        means = mean_noise(noise)
        self._eta.add(means.tolist())
        eta = self._eta.eta
        return [] if eta is None else noise_reliability(means, eta=eta).tolist()

    def _alpha(self, noise: Tensor) -> Tensor | None:
        """Eq. 7's weights; eta is measured anew once a promotion interval and held in between."""
        seen = noise.detach().float().cpu().tolist()
        self._observe("noise", seen)
        self._eta.add(seen)
        self._steps_since_freeze += 1
        if self._steps_since_freeze >= self._config.promotion.every_steps:
            self._eta.freeze()
            self._steps_since_freeze = 0
        eta = self._eta.eta
        if self._xpm.weighting == "none" or eta is None:
            return None
        alpha = noise_reliability(noise, eta=eta)
        self._observe("alpha", alpha.cpu().tolist())
        return alpha
