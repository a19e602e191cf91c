"""What a teacher found in views, packed as labels in pixels of the stored images."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from xpm_stream.learning.views import ViewGeometry
from xpm_stream.masks import pack_mask_bits
from xpm_stream.records import InstanceAnnotation, PseudoInstance, RegionProposal


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


def pack_instances(found: FoundInstances, geometry: ViewGeometry) -> InstanceAnnotation:
    """Return the label of one image."""
    reliability: list[float] | list[None] = found.reliability or [None] * len(found.words)
    instances = [
        PseudoInstance(word=word, box_xyxy=box, mask_bits=pack_mask_bits(grid), score=score, reliability=trust)
        for word, box, grid, score, trust in zip(
            found.words,
            _boxes(geometry.boxes_to_stored(found.boxes_xyxy)),
            found.masks.cpu().numpy(),
            found.scores,
            reliability,
            strict=True,
        )
    ]
    if found.proposals_xyxy is None:
        return InstanceAnnotation(instances=instances)
    proposals = [
        RegionProposal(box_xyxy=box, background_score=score)
        for box, score in zip(
            _boxes(geometry.boxes_to_stored(found.proposals_xyxy)), found.background_scores, strict=True
        )
    ]
    return InstanceAnnotation(instances=instances, proposals=proposals)


def _boxes(boxes_xyxy: Tensor) -> list[tuple[float, float, float, float]]:
    return [(x0, y0, x1, y1) for x0, y0, x1, y1 in boxes_xyxy.float().cpu().tolist()]
