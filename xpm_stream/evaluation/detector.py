"""What the evaluation asks of a model, and what it gets back. Structural: engines need not import this module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from xpm_stream.errors import DataError
from xpm_stream.masks import CocoRle

Image = npt.NDArray[np.uint8]  # H x W x 3, RGB, as stored
Floats = npt.NDArray[np.floating[Any]]


class ImageDetections(Protocol):
    """N objects found in one image; NumPy on the host, pixels of the image that was handed in."""

    @property
    def boxes_xyxy(self) -> Floats:
        """[N, 4]."""
        ...

    @property
    def scores(self) -> Floats:
        """[N], 0..1."""
        ...

    @property
    def class_names(self) -> Sequence[str]:
        """N words of the vocabulary asked for."""
        ...

    @property
    def masks(self) -> Sequence[CocoRle]:
        """N masks of the whole image."""
        ...


@runtime_checkable
class Detector(Protocol):
    """A model that finds objects by their names.

    Several vocabularies come in one call so that an image's backbone and proposals are computed once. They are
    *separate questions*: softmax over a vocabulary's words and background, threshold, per-class NMS and the cap on
    detections are done within each, as the constrained setting requires (METHODS 1.5).
    """

    def detect(
        self, images: Sequence[Image], vocabularies: Sequence[Sequence[str]]
    ) -> Sequence[Sequence[ImageDetections]]:
        """Return one list for each vocabulary, holding one ImageDetections for each image, in order."""
        ...


@runtime_checkable
class BoxProposer(Protocol):
    """A detector whose class-agnostic proposals can be judged too."""

    def propose_boxes(self, images: Sequence[Image]) -> Sequence[Floats]:
        """Return for each image its proposals [P, 4] xyxy in image pixels, best first."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionResult:
    """The detections of one image of a data set; satisfies ImageDetections."""

    image_id: int
    boxes_xyxy: Floats  # [N, 4], pixels of the stored image
    scores: Floats  # [N], 0..1
    class_names: Sequence[str]
    masks: Sequence[CocoRle]

    def __post_init__(self) -> None:
        """Refuse parts that do not belong together.

        Raises:
            DataError: boxes, scores, class names and masks differ in number, or a score is not finite.
        """
        counts = len(self.boxes_xyxy), len(self.scores), len(self.class_names), len(self.masks)
        if len(set(counts)) != 1 or np.shape(self.boxes_xyxy)[1:] not in ((4,), ()):
            raise DataError(
                f"image {self.image_id}: {counts[0]} boxes of shape {np.shape(self.boxes_xyxy)}, {counts[1]} scores, "
                f"{counts[2]} class names and {counts[3]} masks do not belong together"
            )
        if not np.isfinite(self.scores).all() or not np.isfinite(self.boxes_xyxy).all():
            raise DataError(f"image {self.image_id}: a detection's score or box is not finite")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalResult:
    """The class-agnostic proposals of one image of a data set."""

    image_id: int
    boxes_xyxy: Floats  # [P, 4], best first
