"""Caption images grounded as wholes: batches of views with regions to look at, and the matching of their words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from xpm_stream.config import RunConfig
from xpm_stream.engines.base import DetectionEngine, Features, ImageBatch
from xpm_stream.learning.grounding import Company, Matching, equal_pairs, match
from xpm_stream.learning.views import plan_view, view_pixels
from xpm_stream.methods.base import CaptionImage
from xpm_stream.methods.region_batch import pad_views
from xpm_stream.networks.class_embeddings import ClassEmbeddings


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionBatch:
    """Views of caption images; C may not be 0."""

    images: ImageBatch  # C
    windows_xyxy: list[Tensor]  # C, each [P, 4], pixels of the view
    words: list[list[str]]  # C, at least one each
    names: list[str]  # C, equal where the image is the same


def collate_captions(images: Sequence[CaptionImage], *, config: RunConfig, rng: np.random.Generator) -> CaptionBatch:
    """Draw a view of every image, and windows over it.

    Raises:
        ValueError: an image without words.
    """
    views, windows = [], []
    for image in images:
        if not image.words:
            raise ValueError(f"sample {image.sample} has no word to ground")
        geometry = plan_view(
            (image.pixels.shape[0], image.pixels.shape[1]),
            short_side=config.model.image_size,
            long_side=config.model.max_image_size,
            mirrored=bool(rng.random() < config.trainer.horizontal_flip),
        )
        view = view_pixels(image.pixels, geometry)
        views.append(view)
        size = (int(view.shape[1]), int(view.shape[2]))
        boxes = sliding_windows(size, fractions=config.grounding.window_fractions)
        if len(boxes) > config.grounding.max_regions:
            boxes = boxes[np.sort(rng.choice(len(boxes), config.grounding.max_regions, replace=False))]
        windows.append(boxes)
    return CaptionBatch(
        images=pad_views(views),
        windows_xyxy=windows,
        words=[list(image.words) for image in images],
        names=[str(image.sample) for image in images],
    )


def sliding_windows(size_hw: tuple[int, int], *, fractions: Sequence[float]) -> Tensor:
    """Windows of each fraction of the image's sides, evenly spread so that neighbours overlap by about half: [P, 4]."""
    height, width = size_hw
    boxes = []
    for fraction in fractions:
        count = math.ceil(2 / fraction) - 1
        starts = np.linspace(0, 1 - fraction, count)
        boxes += [
            (x * width, y * height, (x + fraction) * width, (y + fraction) * height) for y in starts for x in starts
        ]
    return torch.tensor(boxes, dtype=torch.float32)


def ground_captions(
    engine: DetectionEngine,
    embeddings: ClassEmbeddings,
    batch: CaptionBatch,
    *,
    config: RunConfig,
    regions: Literal["windows", "proposals"],
    company: Company,
) -> Matching:
    """Match the images of all ranks with the captions of all ranks.

    Regions are the batch's windows, or the engine's proposals and the whole view.
    """
    device = batch.images.pixels.device
    features = engine.extract(batch.images)
    if regions == "windows":
        boxes = [part.to(device) for part in batch.windows_xyxy]
    else:
        boxes = _proposals(engine, features, most=config.grounding.max_regions)
    found = engine.embed_regions(features, boxes).embeddings
    shared = company.share([[name, *words] for name, words in zip(batch.names, batch.words, strict=True)])
    captions = [caption for part in shared for caption in part]
    words = [caption[1:] for caption in captions]
    if config.grounding.equal_are_negatives:
        excluded = torch.zeros((len(words), len(words)), dtype=torch.bool)
    else:
        excluded = equal_pairs(words, [caption[0] for caption in captions])
    flat = embeddings.of([word for own in words for word in own], device=device)
    return match(
        torch.split(found, [len(part) for part in boxes]),
        torch.split(flat, [len(own) for own in words]),
        excluded=excluded,
        cosine_scale=config.model.logit_scale if config.grounding.score == "cosine" else None,
        company=company,
    )


def _proposals(engine: DetectionEngine, features: Features, *, most: int) -> list[Tensor]:
    """The best proposals of each image and, so that none is without a region, the whole view."""
    chosen = []
    for boxes, (height, width) in zip(engine.propose(features), features.images.sizes_hw, strict=True):
        whole = boxes.new_tensor([[0.0, 0.0, width, height]])
        chosen.append(torch.cat([whole, boxes[: most - 1]]))
    return chosen
