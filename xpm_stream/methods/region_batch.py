"""Batches of the region methods: base images with ground truth first, pseudo-labelled images after them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from xpm_stream.config.network_sections import ModelConfig
from xpm_stream.data.base_set import BaseImage
from xpm_stream.engines.base import GroundTruth, ImageBatch
from xpm_stream.errors import MessageError
from xpm_stream.learning.views import ViewGeometry, pad_together, plan_view, view_pixels
from xpm_stream.masks import unpack_many_mask_bits
from xpm_stream.methods.base import LabelledImage
from xpm_stream.networks.backbones import padded_size
from xpm_stream.records import InstanceAnnotation


@dataclass(frozen=True, slots=True, kw_only=True)
class PseudoTruth:
    """A teacher's instances of one caption image, in pixels of the view; K may be 0."""

    words: list[str]  # the captions' nouns, with or without an instance
    instance_words: list[str]  # K
    boxes_xyxy: Tensor  # [K, 4] b_o
    masks: Tensor  # uint8 [K, g, g] M_o on the RoI grid of b_o
    reliability: list[float | None]  # K, on the host; None where the teacher gave none
    scores: Tensor = field(default_factory=lambda: torch.zeros(0))  # [K] teacher confidence
    proposals_xyxy: Tensor = field(default_factory=lambda: torch.zeros(0, 4))  # [P, 4] where labels carry proposals
    background_scores: Tensor = field(default_factory=lambda: torch.zeros(0))  # [P] the teacher's, of its proposals

    @property
    def given_reliability(self) -> list[float]:
        """The reliabilities that the teacher gave, at most K."""
        return [value for value in self.reliability if value is not None]

    def to(self, device: torch.device) -> PseudoTruth:
        """Return the instances on `device`."""
        return PseudoTruth(
            words=self.words,
            instance_words=self.instance_words,
            boxes_xyxy=self.boxes_xyxy.to(device, non_blocking=True),
            masks=self.masks.to(device, non_blocking=True),
            reliability=self.reliability,
            scores=self.scores.to(device, non_blocking=True),
            proposals_xyxy=self.proposals_xyxy.to(device, non_blocking=True),
            background_scores=self.background_scores.to(device, non_blocking=True),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionBatch:
    """One step's images: B base images, then C caption images."""

    images: ImageBatch  # B + C
    truth: list[GroundTruth]  # B
    pseudo: list[PseudoTruth]  # C

    def to(self, device: torch.device) -> RegionBatch:
        """Return the batch on `device`."""
        return RegionBatch(
            images=self.images.to(device),
            truth=[target.to(device) for target in self.truth],
            pseudo=[target.to(device) for target in self.pseudo],
        )


def collate_regions(
    labelled: Sequence[LabelledImage],
    base: Sequence[BaseImage],
    *,
    class_index: dict[str, int],
    config: ModelConfig,
    mirror_probability: float,
    rng: np.random.Generator,
) -> RegionBatch:
    """Draw a view of every image and pad them together.

    Raises:
        MessageError: a label of another kind of method.
        ValueError: no image at all.
    """
    if not labelled and not base:
        raise ValueError("a batch needs at least one image")
    views, truth, pseudo = [], [], []
    for image in base:
        geometry = _draw(image.pixels.shape, config=config, mirror_probability=mirror_probability, rng=rng)
        views.append(view_pixels(image.pixels, geometry))
        truth.append(_ground_truth(image, geometry, class_index=class_index))
    for labelled_image in labelled:
        shape = labelled_image.pixels.shape
        geometry = _draw(shape, config=config, mirror_probability=mirror_probability, rng=rng)
        views.append(view_pixels(labelled_image.pixels, geometry))
        pseudo.append(_pseudo_truth(labelled_image, geometry))
    return RegionBatch(images=pad_views(views), truth=truth, pseudo=pseudo)


def pad_views(views: Sequence[Tensor]) -> ImageBatch:
    """Pad views [3, h, w] into one batch whose size every stride divides."""
    sizes = [(int(view.shape[1]), int(view.shape[2])) for view in views]
    return ImageBatch(pixels=pad_together(views, size_hw=padded_size(sizes)), sizes_hw=sizes)


def _draw(
    shape: tuple[int, ...], *, config: ModelConfig, mirror_probability: float, rng: np.random.Generator
) -> ViewGeometry:
    mirrored = bool(rng.random() < mirror_probability)
    stored = (shape[0], shape[1])
    return plan_view(stored, short_side=config.image_size, long_side=config.max_image_size, mirrored=mirrored)


def _ground_truth(image: BaseImage, geometry: ViewGeometry, *, class_index: dict[str, int]) -> GroundTruth:
    """Crowds are left out, as is usual for Mask R-CNN: their masks cover several objects."""
    single = np.flatnonzero(~image.is_crowd)
    masks = image.masks() if len(single) == len(image.rles) else image.masks()[single]
    return GroundTruth(
        boxes_xyxy=geometry.boxes_to_view(torch.from_numpy(image.boxes_xyxy[single]).float().reshape(-1, 4)),
        class_indices=torch.tensor([class_index[image.class_names[index]] for index in single], dtype=torch.int64),
        masks=geometry.masks_to_view(masks),
    )


def _pseudo_truth(image: LabelledImage, geometry: ViewGeometry) -> PseudoTruth:
    annotation: object = image.annotation  # the union grows with the methods; this one reads one of its kinds
    if not isinstance(annotation, InstanceAnnotation):
        kind = type(annotation).__name__
        raise MessageError(
            f"sample {image.sample}: a region method cannot train on {kind}; give each method its own queue"
        )
    instances = annotation.instances
    boxes = torch.tensor([instance.box_xyxy for instance in instances], dtype=torch.float32).reshape(-1, 4)
    proposals = torch.tensor([one.box_xyxy for one in annotation.proposals], dtype=torch.float32).reshape(-1, 4)
    grids = torch.from_numpy(unpack_many_mask_bits([instance.mask_bits for instance in instances]))
    return PseudoTruth(
        words=list(image.words),
        instance_words=[instance.word for instance in instances],
        boxes_xyxy=geometry.boxes_to_view(boxes),
        masks=geometry.grids_to_view(grids),
        reliability=[instance.reliability for instance in instances],
        scores=torch.tensor([instance.score for instance in instances], dtype=torch.float32),
        proposals_xyxy=geometry.boxes_to_view(proposals),
        background_scores=torch.tensor([one.background_score for one in annotation.proposals], dtype=torch.float32),
    )
