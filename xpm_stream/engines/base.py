"""What a detection engine is to the region methods, and the records they exchange.

A method never touches anchors, RoI pooling or non-maximum suppression; an engine never touches words or captions.
`torchvision_rcnn` is the default; a detectron2 engine fits beside it by implementing the same Protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageBatch:
    """Images of different sizes, padded at the right and bottom to one size."""

    pixels: Tensor  # [B, 3, H, W], normalised, zero where padded
    sizes_hw: list[tuple[int, int]]  # pixels of each view inside the padding

    def __len__(self) -> int:
        return len(self.sizes_hw)

    def to(self, device: torch.device) -> ImageBatch:
        """Return the batch on `device`, laid out channels-last (which both CPU and CUDA convolve fastest)."""
        pixels = self.pixels.to(device, non_blocking=True, memory_format=torch.channels_last)
        return ImageBatch(pixels=pixels, sizes_hw=self.sizes_hw)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundTruth:
    """Annotated instances of one image, in pixels of the view; N may be 0."""

    boxes_xyxy: Tensor  # [N, 4], each at least one pixel wide and high
    class_indices: Tensor  # int64 [N], rows of the class embeddings
    masks: Tensor  # uint8 [N, h, w] of the view, without padding

    def to(self, device: torch.device) -> GroundTruth:
        """Return the annotation on `device`."""
        return GroundTruth(
            boxes_xyxy=self.boxes_xyxy.to(device, non_blocking=True),
            class_indices=self.class_indices.to(device, non_blocking=True),
            masks=self.masks.to(device, non_blocking=True),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """Backbone features of a batch. Engines may put any maps in; callers only pass them on or narrow them."""

    maps: dict[str, Tensor]  # each [B, C, H / stride, W / stride], float32
    images: ImageBatch

    def narrow(self, start: int, stop: int) -> Features:
        """Return the features of images `start` to `stop`, so that one backbone pass serves two kinds of image."""
        images = ImageBatch(pixels=self.images.pixels[start:stop], sizes_hw=self.images.sizes_hw[start:stop])
        return Features(maps={name: value[start:stop] for name, value in self.maps.items()}, images=images)


@dataclass(frozen=True, slots=True, kw_only=True)
class Regions:
    """What the embedding head says of R boxes, image after image in the order they were given."""

    embeddings: Tensor  # [R, D] visual embeddings h_emb(f_r), float32
    refined_xyxy: list[Tensor]  # for each image [P, 4]: the boxes after class-agnostic regression, inside the image


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionMasks:
    """What the mask and noise heads say of R boxes, on the RoI grid."""

    logits: Tensor  # [R, g, g] class-agnostic mask logits, float32
    noise_log_variance: Tensor  # [R, g, g] log of g_noise; see `model.noise_shapes_masks`


@dataclass(frozen=True, slots=True, kw_only=True)
class Detections:
    """What was found in one image for one vocabulary, best first; K may be 0."""

    boxes_xyxy: Tensor  # [K, 4] pixels of the view
    scores: Tensor  # [K] class probabilities, background included in the softmax
    class_indices: Tensor  # int64 [K] rows of the vocabulary's embeddings
    mask_probabilities: Tensor  # [K, g, g] on the RoI grid of each box


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionLimits:
    """Which detections are kept (METHODS 1.5: score > 0.05, NMS 0.5 per class, 100 detections)."""

    score_threshold: float = 0.05
    nms_iou: float = 0.5
    max_detections: int = 100


class BackgroundLogits(Protocol):
    """What the background scores at regions, where it is not 0."""

    def __call__(self, features: Features, boxes_xyxy: Sequence[Tensor], embeddings: Tensor) -> Tensor:
        """Return logits [R] of boxes ([P, 4] for each image) with embeddings [R, D]."""
        ...


class ClassificationLoss(Protocol):
    """What it costs to take regions for other classes than theirs."""

    def __call__(self, logits: Tensor, targets: Tensor, *, class_weights: Tensor) -> Tensor:
        """Return a scalar for logits [R, 1 + C] (background first), targets int64 [R] and class weights [1 + C]."""
        ...


class DetectionEngine(Protocol):
    """A two-stage, class-agnostic detector with an embedding head. Every tensor in and out is in pixels of the view."""

    classification_loss: ClassificationLoss | None  # of `detection_losses`; none: weighted cross-entropy
    background: BackgroundLogits | None  # of `detection_losses` and `detect`; none: the background's logit is 0
    mask_prior_weight: float  # of the embedding head's per-cell class response on mask logits; 0: none

    @property
    def network(self) -> nn.Module:
        """All parameters and buffers."""
        ...

    @property
    def embedding_layer(self) -> nn.Module:
        """The last layer of the embedding head: into the text space."""
        ...

    def load_starting_weights(self) -> None:
        """Load the weights `model.weights` names into a fresh network; nothing without the option.

        Raises:
            ConfigError: they cannot be found, fetched or fitted; the message names the option.
        """
        ...

    def logits(self, embeddings: Tensor, class_embeddings: Tensor) -> Tensor:
        """Return class logits [R, 1 + C] of regions [R, D] for classes [C, D], background (0) first."""
        ...

    def objectness(self, features: Features, boxes_xyxy: Sequence[Tensor]) -> Tensor:
        """Return the proposal network's objectness logit [R] in the middle of boxes ([P, 4] for each image)."""
        ...

    def freeze_trunk(self) -> None:
        """Let what all heads share, and the proposals, learn no more; repeat it after each change to train mode."""
        ...

    def extract(self, images: ImageBatch) -> Features:
        """Run the backbone once."""
        ...

    def propose(self, features: Features) -> list[Tensor]:
        """Return class-agnostic proposals, [P, 4] for each image, best first and without gradient, in either mode."""
        ...

    def embed_regions(self, features: Features, boxes_xyxy: Sequence[Tensor]) -> Regions:
        """Pool and embed boxes ([P, 4] for each image; P may be 0)."""
        ...

    def segment_regions(
        self, features: Features, boxes_xyxy: Sequence[Tensor], *, class_embeddings: Tensor | None = None
    ) -> RegionMasks:
        """Pool boxes and predict their masks and pixel noise; each box's class [R, D] is for the mask prior only."""
        ...

    def proposal_losses(self, features: Features, boxes_xyxy: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return `rpn_objectness` and `rpn_box` towards given boxes ([K, 4] for each image; K may be 0); train mode."""
        ...

    def box_losses(self, features: Features, boxes_xyxy: Sequence[Tensor], targets_xyxy: Sequence[Tensor]) -> Tensor:
        """Return [R]: what it costs that class-agnostic regression does not bring each box to its target."""
        ...

    def detection_losses(
        self, features: Features, truth: Sequence[GroundTruth], *, class_embeddings: Tensor
    ) -> dict[str, Tensor]:
        """Return the parts of L_GT: proposals, classes (`class_embeddings` [C, D] and background), boxes, masks."""
        ...

    def detect(
        self, features: Features, *, vocabularies: Sequence[Tensor], limits: DetectionLimits
    ) -> list[list[Detections]]:
        """For each vocabulary [V, D], for each image: the detections. Regions are pooled once for all vocabularies."""
        ...
