"""XPM: robust cross-modal pseudo-labeling (Huynh et al., CVPR 2022). Equations are in learning/losses.py.

How words are kept apart, and what becomes of target objects in base images that nobody annotated, is in
docs/learning.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xpm_stream.config import RunConfig
from xpm_stream.engines.base import Detections, Features
from xpm_stream.learning.assignment import find_assignment
from xpm_stream.learning.box_voting import vote_boxes
from xpm_stream.learning.confidence import (
    DropoutPasses,
    EvidenceName,
    class_evidence,
    evidence_as_probability,
    log_normaliser,
    pixel_score,
)
from xpm_stream.learning.losses import (
    binarise_mask,
    cross_modal_loss,
    mean_noise,
    noise_reliability,
    noisy_mask_loss,
    pseudo_mask_loss,
    word_log_probabilities,
)
from xpm_stream.learning.reliability import EtaWindow, StandardisedReliability, WordMeans
from xpm_stream.learning.sampled_words import NegativeSampler
from xpm_stream.learning.weighting import StudentEvidence, find_weighting, noise_of_images, weigh_words
from xpm_stream.methods.base import CaptionImage
from xpm_stream.methods.instance_labels import FoundInstances, pack_instances
from xpm_stream.methods.matched_regions import match_proposals
from xpm_stream.methods.rated_detections import rate_detections
from xpm_stream.methods.region_batch import PseudoTruth, RegionBatch
from xpm_stream.methods.teacher_student import Scene, TeacherStudent
from xpm_stream.networks.class_embeddings import WordEmbedder
from xpm_stream.records import Annotation


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignedWords:
    """The words of one image that got a region, K of them."""

    words: list[str]
    word_indices: Tensor  # int64 [K], rows of V_C
    proposals: Tensor  # int64 [K], of the image
    log_probabilities: Tensor  # [K] over V_C, or over the words of the image
    at_all_regions: Tensor  # [P, K] the same at all of the image's proposals
    caption_indices: Tensor  # int64, rows of V_C of all known words of the image


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherEvidence:
    """What the teacher's heads say of the K aligned words of a batch; reliability strategies choose from it."""

    words: list[str]
    word_indices: Tensor  # int64 [K]
    logits: Tensor  # [K, 1 + V]
    embeddings: Tensor  # [K, D]
    caption_words: list[tuple[int, Tensor]]  # for each image how many of the K, and rows of V_C of its words
    mask_logits: Tensor  # [K, g, g]
    noise: Tensor  # [K] mean noise

    def class_evidence(self, name: EvidenceName) -> Tensor:
        """Class evidence of each word at its region: [K]."""
        return class_evidence(name, self.logits, self.word_indices, caption_words=self.caption_words)


class Xpm(TeacherStudent):
    """The teacher gives each caption word a region, mask and reliability; the student learns them beside base truth."""

    def __init__(self, config: RunConfig, *, base_classes: Sequence[str], embedder: WordEmbedder | None = None) -> None:
        super().__init__(config, base_classes=base_classes, embedder=embedder)
        self._xpm = config.xpm
        self._assign = find_assignment(config.xpm.assignment, block_iou=config.xpm.block_iou)
        self._weighting = find_weighting(config.xpm.weighting)
        self._dropout = DropoutPasses(number=config.xpm.dropout_passes, rate=config.xpm.dropout_rate)
        self._negatives = NegativeSampler(config.text.sampled_negatives)
        self._standardised = StandardisedReliability()
        self._usual_reliability = WordMeans()
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
        aligned = self._align(scene, images)
        boxes = self._boxes(scene, aligned)
        masks = self._engine.segment_regions(scene.features, boxes)
        reliability = self._reliability(
            self._evidence(scene, aligned, mask_logits=masks.logits, noise=mean_noise(masks.noise_log_variance))
        )
        grids = torch.split(binarise_mask(masks.logits), [len(item.words) for item in aligned])
        scores = torch.cat([item.log_probabilities for item in aligned]).exp().tolist()
        self._observe("reliability", reliability)
        found: list[FoundInstances] = []
        start = 0
        for item, of_image, grid in zip(aligned, boxes, grids, strict=True):
            part = slice(start, start + len(item.words))
            start = part.stop
            found.append(
                FoundInstances(
                    words=item.words,
                    boxes_xyxy=of_image,
                    scores=scores[part],
                    masks=grid,
                    reliability=reliability[part],
                )
            )
        return pack_instances(found, scene.geometries)

    def caption_losses(self, features: Features, pseudo: Sequence[PseudoTruth]) -> dict[str, Tensor]:
        """L_X (Eq. 3) and L_M (Eq. 5 or 6), weighted as `xpm.weighting` says, at the boxes b_o."""
        for target in pseudo:
            self._observe("reliability", target.given_reliability)
        if self._xpm.pseudo_regions == "proposals":
            pseudo = match_proposals(pseudo, self._propose(features))
        boxes = [target.boxes_xyxy for target in pseudo]
        regions = self._engine.embed_regions(features, boxes)
        masks = self._engine.segment_regions(features, boxes)
        targets = torch.cat([target.masks for target in pseudo])
        if self._weighting.noise_in_mask_loss:
            epsilon = torch.randn_like(masks.logits)
            mask = noisy_mask_loss(masks.logits, targets, noise_log_variance=masks.noise_log_variance, epsilon=epsilon)
        else:
            mask = pseudo_mask_loss(masks.logits, targets)
        noise = mean_noise(masks.noise_log_variance.detach())
        self._note_noise(noise)
        if self._xpm.alpha_scope == "image":
            noise = noise_of_images(noise, [len(target.instance_words) for target in pseudo])
        cross_modal = self._cross_modal_loss(regions.embeddings, pseudo, mask_logits=masks.logits, noise=noise)
        return {
            "cross_modal": self._xpm.cross_modal_weight * cross_modal,
            "pseudo_mask": self._xpm.mask_weight * mask,
        }

    def _cross_modal_loss(
        self, embeddings: Tensor, pseudo: Sequence[PseudoTruth], *, mask_logits: Tensor, noise: Tensor
    ) -> Tensor:
        """L_X of the words that V_C knows: a word the full vocabulary refused has no class to learn."""
        words = [word for target in pseudo for word in target.instance_words]
        reliability = [1.0 if value is None else value for target in pseudo for value in target.reliability]
        self._usual_reliability.update(words, reliability)
        usual = self._usual_reliability.of(words)
        known = [index for index, word in enumerate(words) if word in self.vocabulary]
        rows = torch.tensor(known, dtype=torch.int64, device=embeddings.device)
        indices = self._indices([words[row] for row in known])
        present = self._indices([word for target in pseudo for word in target.words if word in self.vocabulary])
        table = self._vocabulary_embeddings()
        columns = self._negatives.draw(self.vocabulary, indices, present=present)
        classes = table if columns is None else table[columns.rows]

        def classify(some: Tensor) -> Tensor:
            logits = self._engine.logits(some, classes)
            return logits if columns is None else columns.correct(logits)

        logits = classify(embeddings[rows])
        word_columns = indices if columns is None else columns.word_columns
        weights = weigh_words(
            self._weighting,
            StudentEvidence(
                logits=logits,
                word_columns=word_columns,
                embeddings=embeddings[rows],
                classify=classify,
                log_multiplicity=None if columns is None else columns.log_multiplicity,
                mask_logits=mask_logits[rows],
                noise=noise[rows],
                eta=self._eta.eta,
                limit_alpha=self._xpm.limit_alpha,
                dropout=self._dropout,
                reliability=torch.tensor([reliability[row] for row in known], device=embeddings.device),
                usual_reliability=torch.tensor([usual[row] for row in known], device=embeddings.device),
            ),
        )
        if weights is not None:
            self._observe("alpha", weights.float().cpu().tolist())
        return cross_modal_loss(logits, word_columns, background=self._xpm.background_in_cross_modal, weights=weights)

    def rate(self, features: Features, found: Sequence[Detections], *, words: Sequence[str]) -> list[Tensor] | None:
        """Reliability as labels have it (`xpm.reliability`), the words asked for in place of a caption's."""
        return rate_detections(
            self._engine,
            features,
            found,
            asked=self._embeddings.of(words, device=self.device),
            vocabulary=lambda: self._embeddings.of(
                list(dict.fromkeys([*self.vocabulary.words, *words])), device=self.device
            ),
            words=words,
            config=self._xpm,
            standardised=self._standardised,
            eta=self._eta.eta,
            dropout=self._dropout,
        )

    def teacher_changed(self) -> None:
        """Let the next labels rule the per-word statistics: they belonged to other weights."""
        self._standardised.soften()

    def state(self) -> dict[str, Any]:
        """Vocabulary, per-word statistics, and eta."""
        return super().state() | {
            "reliability": self._standardised.state(),
            "usual_reliability": self._usual_reliability.state(),
            "eta": self._eta.state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a state; a trainer's state has no per-word statistics, and then a labeler keeps its own."""
        super().load_state(state)
        self._negatives.forget()
        if state.get("reliability"):
            self._standardised.load_state(state["reliability"])
        self._usual_reliability.load_state(state.get("usual_reliability", {}))
        self._eta.load_state(state.get("eta", {}))

    def _align(self, scene: Scene, images: Sequence[CaptionImage]) -> list[AlignedWords]:
        """Give words of each image their proposals."""
        counts = [len(boxes) for boxes in scene.proposals]
        of_images = self._scores(scene.regions.embeddings, counts, images)
        aligned = []
        for (words, indices, own, rank), boxes in zip(of_images, scene.regions.refined_xyxy, strict=True):
            found = self._assign(rank.T, boxes)
            kept = torch.nonzero(found >= 0)[:, 0]
            aligned.append(
                AlignedWords(
                    words=[words[index] for index in kept.tolist()],
                    word_indices=indices[kept],
                    proposals=found[kept],
                    log_probabilities=own[found[kept], kept],
                    at_all_regions=own[:, kept],
                    caption_indices=indices,
                )
            )
        return aligned

    def _scores(
        self, embeddings: Tensor, counts: list[int], images: Sequence[CaptionImage]
    ) -> list[tuple[list[str], Tensor, Tensor, Tensor]]:
        """What is known of each image's W known words.

        Their names, their rows of V_C [W], their log probabilities at the regions [P, W] (background included), and
        what regions are ranked by [P, W].
        """
        known = [[word for word in image.words if word in self.vocabulary] for image in images]
        indices = [self._indices(words) for words in known]
        table = self._vocabulary_embeddings()
        logits = [
            self._engine.logits(part, table[columns])
            for part, columns in zip(torch.split(embeddings, counts), indices, strict=True)
        ]
        if self._xpm.assignment_context == "vocabulary":
            over = torch.split(log_normaliser(embeddings, table, logits=self._engine.logits), counts)
            own = [part[:, 1:] - of_part[:, None] for part, of_part in zip(logits, over, strict=True)]
        else:
            own = [word_log_probabilities(part, background=True) for part in logits]
        ranks = [part[:, 1:] for part in logits] if self._xpm.assignment_context == "logit" else own
        return list(zip(known, indices, own, ranks, strict=True))

    def _boxes(self, scene: Scene, aligned: Sequence[AlignedWords]) -> list[Tensor]:
        """b_o of each image's words, regressed as often as `xpm.box_refinements` says."""
        source = scene.regions.refined_xyxy if self._xpm.box_refinements else scene.proposals
        if self._xpm.box_voting:
            boxes = [
                vote_boxes(of_image.float(), item.proposals, item.at_all_regions.float())
                for of_image, item in zip(source, aligned, strict=True)
            ]
        else:
            boxes = [of_image[item.proposals] for of_image, item in zip(source, aligned, strict=True)]
        for _ in range(self._xpm.box_refinements - 1):
            boxes = self._engine.embed_regions(scene.features, boxes).refined_xyxy
        return boxes

    def _evidence(
        self, scene: Scene, aligned: Sequence[AlignedWords], *, mask_logits: Tensor, noise: Tensor
    ) -> TeacherEvidence:
        parts = torch.split(scene.regions.embeddings, [len(boxes) for boxes in scene.proposals])
        embeddings = torch.cat([part[item.proposals] for part, item in zip(parts, aligned, strict=True)])
        return TeacherEvidence(
            words=[word for item in aligned for word in item.words],
            word_indices=torch.cat([item.word_indices for item in aligned]),
            logits=self._engine.logits(embeddings, self._vocabulary_embeddings()),
            embeddings=embeddings,
            caption_words=[(len(item.words), item.caption_indices) for item in aligned],
            mask_logits=mask_logits,
            noise=noise,
        )

    def _reliability(self, evidence: TeacherEvidence) -> list[float]:
        name, score = self._xpm.reliability, self._xpm.reliability_score
        if name == "standardised":
            listed = evidence.class_evidence(score).tolist()
            self._standardised.update(evidence.words, listed)
            return [self._standardised.score(word, value) for word, value in zip(evidence.words, listed, strict=True)]
        if name == "class_score":
            return evidence_as_probability(score, evidence.class_evidence(score)).tolist()
        if name == "pixel_score":
            return pixel_score(evidence.mask_logits).tolist()
        if name == "dropout_entropy":
            table = self._vocabulary_embeddings()
            return self._dropout.certainty(evidence.embeddings, lambda some: self._engine.logits(some, table)).tolist()
        self._eta.add(evidence.noise.tolist())
        eta = self._eta.eta
        return [] if eta is None else noise_reliability(evidence.noise, eta=eta).tolist()

    def _note_noise(self, noise: Tensor) -> None:
        """Observe mean noises; eta is measured anew once a promotion interval and held in between."""
        seen = noise.float().cpu().tolist()
        self._observe("noise", seen)
        self._eta.add(seen)
        self._steps_since_freeze += 1
        if self._steps_since_freeze >= self._config.promotion.every_steps:
            self._eta.freeze()
            self._steps_since_freeze = 0

    def _prepare_training(self, batch: RegionBatch) -> None:
        """Freeze the trunk as soon as there are labels to learn from: the first teacher's training has none."""
        if self._xpm.frozen_trunk and batch.pseudo:
            self._engine.freeze_trunk()

    @torch.no_grad()
    def _propose(self, features: Features) -> list[Tensor]:
        self.network.eval()  # proposals as labels and detection see them
        proposals = self._engine.propose(features)
        self.network.train()
        return proposals

    def _indices(self, words: Sequence[str]) -> Tensor:
        """Rows of V_C: int64 [N] on the network's device."""
        return torch.tensor([self.vocabulary.index(word) for word in words], dtype=torch.int64, device=self.device)
