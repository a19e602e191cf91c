"""Detections as the evaluation reads them: NumPy on the host, in pixels of the stored image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from xpm_stream.engines.base import Detections
from xpm_stream.learning.views import ViewGeometry
from xpm_stream.masks import CocoRle, encode_rle, paste_roi_mask


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundObjects:
    """N objects of one image, best first; satisfies evaluation's `ImageDetections`."""

    boxes_xyxy: npt.NDArray[np.float32]  # [N, 4], pixels of the stored image
    scores: npt.NDArray[np.float32]  # [N], 0..1
    class_names: list[str]
    masks: list[CocoRle]  # of the whole image
    reliability: npt.NDArray[np.float32] | None = None  # [N], 0..1; none where it was not asked for, or there is none


def found_objects(
    detections: Detections, *, geometry: ViewGeometry, words: Sequence[str], reliability: Tensor | None = None
) -> FoundObjects:
    """Map detections of a view to the stored image, masks pasted and encoded."""
    height, width = geometry.stored_hw
    boxes = geometry.boxes_to_stored(detections.boxes_xyxy).float().cpu().numpy()
    grids = detections.mask_probabilities.float().cpu().numpy()
    return FoundObjects(
        boxes_xyxy=boxes,
        scores=detections.scores.float().cpu().numpy(),
        class_names=[words[index] for index in detections.class_indices.tolist()],
        masks=[
            encode_rle(paste_roi_mask(grid, box, height=height, width=width))
            for grid, box in zip(grids, boxes, strict=True)
        ],
        reliability=None if reliability is None else reliability.float().cpu().numpy(),
    )
