"""What Soft Teacher and Unbiased Teacher share: the teacher's own detections on caption images are pseudo truth.

Captions choose nothing: an image may get classes its captions do not name, and misses those they do. The regions that
a student learns at are the teacher's proposals, which travel with the label beside the instances: the teacher is in
another process, so it cannot score the student's.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from xpm_stream.config import RunConfig
from xpm_stream.config.method_sections import VisualTeacherConfig
from xpm_stream.data.base_set import BaseImage
from xpm_stream.engines.base import Features
from xpm_stream.learning.detection_selection import select_detections
from xpm_stream.learning.losses import BACKGROUND, binarise_mask, pseudo_mask_loss
from xpm_stream.learning.region_matching import UNMATCHED, match_regions
from xpm_stream.learning.strong_views import strong_view
from xpm_stream.methods.base import Batch, CaptionImage, LabelledImage
from xpm_stream.methods.instance_labels import FoundInstances, pack_instances
from xpm_stream.methods.known_classes import KnownClasses
from xpm_stream.methods.region_batch import PseudoTruth
from xpm_stream.methods.teacher_student import Scene, TeacherStudent
from xpm_stream.networks.class_embeddings import WordEmbedder
from xpm_stream.records import Annotation


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifiedRegions:
    """The regions of C caption images a student is to classify; R over all images."""

    logits: Tensor  # [R, 1 + V]
    targets: Tensor  # int64 [R], BACKGROUND or 1 + class
    background_scores: Tensor  # [R] the teacher's; 0 for its instances, which are not background


class VisualTeacher(TeacherStudent):
    """Confident detections of the teacher, weakly viewed, teach a student that sees strong views."""

    def __init__(
        self,
        config: RunConfig,
        *,
        base_classes: Sequence[str],
        section: VisualTeacherConfig,
        embedder: WordEmbedder | None = None,
    ) -> None:
        super().__init__(config, base_classes=base_classes, embedder=embedder)
        self._visual = section
        self._classes = KnownClasses(
            section.classes,
            base_classes=base_classes,
            split_file=config.data.split.file,
            vocabulary=lambda: self.vocabulary,
        )

    @property
    @abstractmethod
    def kept_above(self) -> float:
        """The least confidence of a detection that goes into a label."""

    @torch.inference_mode()
    def label(self, images: Sequence[CaptionImage]) -> list[Annotation]:
        """Detect, over the known class names, what the teacher is confident of; the captions choose nothing."""
        if not images:
            return []
        for image in images:
            self.vocabulary.add(image.words)
        scene = self._look([image.pixels for image in images])
        names = self._classes.names
        probabilities = self._engine.logits(scene.regions.embeddings, self._class_embeddings()).softmax(dim=1)
        parts = torch.split(probabilities, [len(boxes) for boxes in scene.proposals])
        found = [
            select_detections(
                boxes,
                part[:, 1:],
                score_threshold=self.kept_above,
                nms_iou=self._visual.nms_iou,
                max_detections=self._visual.max_instances,
            )
            for boxes, part in zip(scene.regions.refined_xyxy, parts, strict=True)
        ]
        boxes = [of_image for of_image, _, _ in found]
        counts = [len(of_image) for of_image in boxes]
        masks = torch.split(binarise_mask(self._engine.segment_regions(scene.features, boxes).logits), counts)
        reliability = self.box_reliability(scene, boxes, images)
        most = self._visual.num_proposals
        labels: list[FoundInstances] = []
        for index, (box, score, class_index) in enumerate(found):
            trust = None if reliability is None else reliability[index].tolist()
            self._observe("reliability", trust or [])
            labels.append(
                FoundInstances(
                    words=[names[one] for one in class_index.tolist()],
                    boxes_xyxy=box,
                    scores=score.clamp(0, 1).tolist(),
                    masks=masks[index],
                    reliability=trust,
                    proposals_xyxy=scene.proposals[index][:most],
                    background_scores=parts[index][:most, BACKGROUND].clamp(0, 1).tolist(),
                )
            )
        return pack_instances(labels, scene.geometries)

    def box_reliability(
        self, scene: Scene, boxes_xyxy: Sequence[Tensor], images: Sequence[CaptionImage]
    ) -> list[Tensor] | None:
        """Return for each image [K] how surely its boxes are placed, 0..1; none if this teacher does not say."""
        return None

    def collate(
        self, labelled: Sequence[LabelledImage], base: Sequence[BaseImage], *, rng: np.random.Generator
    ) -> Batch:
        """Make a CPU batch; caption images are seen strongly."""
        if self._visual.strong_views:
            labelled = [replace(one, pixels=strong_view(one.pixels, rng=rng)) for one in labelled]
        return super().collate(labelled, base, rng=rng)

    def teacher_changed(self) -> None:
        """Keep no statistics of a teacher."""

    def classify(self, features: Features, pseudo: Sequence[PseudoTruth]) -> ClassifiedRegions:
        """Score the instances and the teacher's proposals; a proposal that overlaps an instance is of its class.

        A region whose class this student does not know (yet) is left out.
        """
        boxes, targets, scores = [], [], []
        for target in pseudo:
            matched = match_regions(target.proposals_xyxy, target.boxes_xyxy)
            columns = [-1 if index is None else index + 1 for index in self._classes.indices(target.instance_words)]
            own = torch.tensor([*columns, BACKGROUND], dtype=torch.int64, device=matched.device)
            # The last entry is the background's: UNMATCHED is -1.
            assert UNMATCHED == -1
            columns_of_all = torch.cat([own[:-1], own[matched]])
            known = columns_of_all >= 0
            boxes.append(torch.cat([target.boxes_xyxy, target.proposals_xyxy])[known])
            targets.append(columns_of_all[known])
            scores.append(torch.cat([torch.zeros_like(target.scores), target.background_scores])[known])
        embeddings = self._engine.embed_regions(features, boxes).embeddings
        return ClassifiedRegions(
            logits=self._engine.logits(embeddings, self._class_embeddings()),
            targets=torch.cat(targets),
            background_scores=torch.cat(scores),
        )

    def mask_loss(self, features: Features, pseudo: Sequence[PseudoTruth]) -> Tensor:
        """L_M without noise (Eq. 5) at the instances."""
        logits = self._engine.segment_regions(features, [target.boxes_xyxy for target in pseudo]).logits
        return pseudo_mask_loss(logits, torch.cat([target.masks for target in pseudo]))

    def _class_embeddings(self) -> Tensor:
        if self._visual.classes == "vocabulary":
            return self._vocabulary_embeddings()
        return self._embeddings.of(self._classes.names, device=self.device)


def confident_part(target: PseudoTruth, *, above: float) -> PseudoTruth:
    """Return the instances with a higher confidence only."""
    kept = target.scores > above
    chosen = kept.tolist()
    return replace(
        target,
        instance_words=[word for word, keep in zip(target.instance_words, chosen, strict=True) if keep],
        boxes_xyxy=target.boxes_xyxy[kept],
        masks=target.masks[kept],
        scores=target.scores[kept],
    )
