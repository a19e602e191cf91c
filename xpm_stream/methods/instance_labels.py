"""What a teacher found in views, packed as labels in pixels of the stored images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from xpm_stream.learning.views import ViewGeometry
from xpm_stream.masks import pack_mask_bits
from xpm_stream.records import Annotation, InstanceAnnotation, PseudoInstance, RegionProposal


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundInstances:
    """The K instances of one image, in pixels of its view."""

    words: list[str]  # K
    boxes_xyxy: Tensor  # [K, 4]
    scores: list[float]  # K, 0..1
    masks: Tensor  # bool [K, g, g]
    reliability: list[float] | None = None  # K; none: this teacher gives none
    proposals_xyxy: Tensor | None = None  # [P, 4], where labels carry proposals
    background_scores: list[float] = field(default_factory=list)  # P


def pack_instances(found: Sequence[FoundInstances], geometries: Sequence[ViewGeometry]) -> list[Annotation]:
    """Return the labels of a batch of images, in order."""
    pairs = list(zip(found, geometries, strict=True))
    # All images at once: every transfer from a GPU waits for it.
    boxes = iter(_listed([geometry.boxes_to_stored(one.boxes_xyxy) for one, geometry in pairs]))
    grids = iter(torch.cat([one.masks for one in found]).cpu().numpy())
    proposals = iter(
        _listed(
            [geometry.boxes_to_stored(one.proposals_xyxy) for one, geometry in pairs if one.proposals_xyxy is not None]
        )
    )
    annotations: list[Annotation] = []
    for one in found:
        assert len(one.words) == len(one.boxes_xyxy) == len(one.masks), "one box and one mask for each word"
        reliability: list[float] | list[None] = one.reliability or [None] * len(one.words)
        instances = [
            PseudoInstance(
                word=word,
                box_xyxy=next(boxes),
                mask_bits=pack_mask_bits(next(grids)),
                score=score,
                reliability=trust,
            )
            for word, score, trust in zip(one.words, one.scores, reliability, strict=True)
        ]
        num_proposals = 0 if one.proposals_xyxy is None else len(one.proposals_xyxy)
        assert num_proposals == len(one.background_scores), "one background score for each proposal"
        carried = [RegionProposal(box_xyxy=next(proposals), background_score=s) for s in one.background_scores]
        annotations.append(InstanceAnnotation(instances=instances, proposals=carried))
    return annotations


def _listed(boxes_xyxy: Sequence[Tensor]) -> list[tuple[float, float, float, float]]:
    if not boxes_xyxy:
        return []
    return [(x0, y0, x1, y1) for x0, y0, x1, y1 in torch.cat(list(boxes_xyxy)).float().tolist()]
