"""Cap2Det (Ye et al., ICCV 2019): image-level labels from captions, multiple-instance detection, online refinement.

Both streams of the multiple-instance detector are read off the embedding head, so that the network is that of every
region method: any teacher may start it, and it detects any word. The proposals are the teacher's and travel with the
label, as the paper's were computed beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from xpm_stream.config import RunConfig
from xpm_stream.engines.base import Features
from xpm_stream.learning.losses import BACKGROUND, binarise_mask
from xpm_stream.learning.multiple_instance import (
    image_label_loss,
    refinement_loss,
    refinement_targets,
    two_stream_scores,
)
from xpm_stream.methods.base import CaptionImage
from xpm_stream.methods.instance_labels import FoundInstances, pack_instances
from xpm_stream.methods.known_classes import KnownClasses
from xpm_stream.methods.region_batch import PseudoTruth
from xpm_stream.methods.teacher_student import TeacherStudent
from xpm_stream.networks.class_embeddings import WordEmbedder
from xpm_stream.records import Annotation
from xpm_stream.text.caption_nouns import CaptionNouns


class Cap2Det(TeacherStudent):
    """Captions say which known classes an image shows; the student finds out where."""

    def __init__(self, config: RunConfig, *, base_classes: Sequence[str], embedder: WordEmbedder | None = None) -> None:
        super().__init__(config, base_classes=base_classes, embedder=embedder)
        self._cap2det = config.cap2det
        self._classes = KnownClasses(
            config.cap2det.classes,
            base_classes=base_classes,
            split_file=config.data.split.file,
            vocabulary=lambda: self.vocabulary,
        )

    @torch.inference_mode()
    def label(self, images: Sequence[CaptionImage]) -> list[Annotation]:
        """Name the image's classes, each at the proposal where the teacher sees it best, and list the proposals."""
        if not images:
            return []
        for image in images:
            self.vocabulary.add(image.words)
        scene = self._look([image.pixels for image in images])
        names = self._classes.names
        rows = self._class_embeddings()
        logits = self._engine.logits(scene.regions.embeddings, rows)
        parts = torch.split(logits, [len(boxes) for boxes in scene.proposals])
        chosen: list[tuple[list[int], Tensor]] = []  # of each image: its classes, and the proposal of each
        for image, part in zip(images, parts, strict=True):
            present = self._image_labels(image.words, rows) if len(part) else []
            best = two_stream_scores(part[:, 1:])[:, present].argmax(dim=0) if present else part.new_zeros(0).long()
            chosen.append((present, best))
        boxes = [scene.proposals[index][regions] for index, (_, regions) in enumerate(chosen)]
        counts = [len(of_image) for of_image in boxes]
        masks = torch.split(binarise_mask(self._engine.segment_regions(scene.features, boxes).logits), counts)
        most = self._cap2det.num_proposals
        labels: list[FoundInstances] = []
        for index, (present, regions) in enumerate(chosen):
            probabilities = parts[index].softmax(dim=1).clamp(0, 1)
            columns = torch.tensor(present, dtype=torch.int64, device=regions.device) + 1
            labels.append(
                FoundInstances(
                    words=[names[one] for one in present],
                    boxes_xyxy=boxes[index],
                    scores=probabilities[regions, columns].tolist(),
                    masks=masks[index],
                    proposals_xyxy=scene.proposals[index][:most],
                    background_scores=probabilities[:most, BACKGROUND].tolist(),
                )
            )
        return pack_instances(labels, scene.geometries)

    def caption_losses(self, features: Features, pseudo: Sequence[PseudoTruth]) -> dict[str, Tensor]:
        """Image labels over the two streams, and the refinement they give; images without a label teach nothing."""
        embeddings = self._engine.embed_regions(features, [target.proposals_xyxy for target in pseudo]).embeddings
        logits = self._engine.logits(embeddings, self._class_embeddings())
        image_losses, refinements = [logits.sum() * 0.0], [logits.sum() * 0.0]
        counts = [len(target.proposals_xyxy) for target in pseudo]
        for target, part in zip(pseudo, torch.split(logits, counts), strict=True):
            present = [index for index in self._classes.indices(target.instance_words) if index is not None]
            if not present or len(part) == 0:
                continue
            labels = part.new_zeros(part.shape[1] - 1)
            labels[present] = 1.0
            scores = two_stream_scores(part[:, 1:])
            targets, weights = refinement_targets(
                scores, labels, target.proposals_xyxy, min_iou=self._cap2det.refinement_iou
            )
            image_losses.append(image_label_loss(scores, labels))
            refinements.append(
                refinement_loss(part, targets, weights, background_weight=self._config.model.background_weight)
            )
        num_labelled = max(len(image_losses) - 1, 1)
        return {
            "image_labels": self._cap2det.image_weight * torch.stack(image_losses).sum() / num_labelled,
            "refinement": self._cap2det.refinement_weight * torch.stack(refinements).sum() / num_labelled,
        }

    def teacher_changed(self) -> None:
        """Keep no statistics of a teacher."""

    @cached_property
    def _spoken(self) -> dict[str, int]:
        """Captions speak of classes in canonical spelling; the words of V_C are in it already."""
        nouns = CaptionNouns.load()
        names = [] if self._cap2det.classes == "vocabulary" else self._classes.names
        return {nouns.canonical(name) or name: index for index, name in enumerate(names)}

    def _image_labels(self, words: Sequence[str], rows: Tensor) -> list[int]:
        """Return the indices of the classes that captions with these nouns name, in order of first mention."""
        found = map(self._spoken.get, words) if self._spoken else self._classes.indices(words)
        exact = list(dict.fromkeys(index for index in found if index is not None))
        if exact or not words or self._cap2det.label_inference == "exact":
            return exact
        nouns = functional.normalize(self._embeddings.of(words, device=self.device), dim=1)
        similarity = nouns @ functional.normalize(rows, dim=1).T
        return [int(similarity.flatten().argmax()) % len(rows)]

    def _class_embeddings(self) -> Tensor:
        if self._cap2det.classes == "vocabulary":
            return self._vocabulary_embeddings()
        return self._embeddings.of(self._classes.names, device=self.device)
