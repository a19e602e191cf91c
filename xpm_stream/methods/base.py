"""What a method is to the stages: it builds a network, labels caption images, batches labels, and says the losses.

The stages own everything else (queue, ledger, optimiser, checkpoints, promotion) and never look inside an annotation
or a batch, so a new method is one file. See docs/architecture.md for how grouping methods (OVSegmentor) and
frozen-encoder methods (Unpair-Seg) fit the same seam.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from xpm_stream.config import RunConfig
from xpm_stream.data.base_set import BaseImage
from xpm_stream.evaluation.detector import BoxProposer, Detector
from xpm_stream.learning.grounding import Company, Matching
from xpm_stream.methods.found_objects import FoundObjects
from xpm_stream.records import Annotation, ImagePayload, SampleId

Batch = Any  # made by collate(), read by losses(); opaque to the stages


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionImage:
    """A decoded image with its captions' nouns, ready to be labelled."""

    sample: SampleId
    pixels: npt.NDArray[np.uint8]  # H x W x 3, RGB, as stored
    words: list[str]  # distinct object nouns, in order of first mention
    captions: list[str]  # empty where an earlier label is made again
    payload: ImagePayload | None = None  # how a label may refer to the image, for methods that pair images
    previous: Annotation | None = None  # the label that is made again: what no teacher changes need not be found twice


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledImage:
    """A decoded image with what a teacher said of it, ready to be trained on."""

    sample: SampleId
    pixels: npt.NDArray[np.uint8]  # H x W x 3, RGB, as stored
    words: list[str]
    annotation: Annotation
    partners: list[npt.NDArray[np.uint8]] = field(default_factory=list)  # of `annotation.partner_images()`, in order


class Method(Protocol):
    """A self-training method. One object serves one process; it may hold running statistics."""

    def __init__(self, config: RunConfig, *, base_classes: Sequence[str]) -> None: ...

    @property
    def network(self) -> nn.Module:
        """The network this process labels with (labeler) or trains (trainer)."""
        ...

    def load_starting_weights(self) -> None:
        """Load what `model.weights` names into a fresh network; call it only where a first teacher starts from nothing.

        Apart from the constructor, so that labelers and resumed trainers, whose weights come from checkpoints, never
        fetch anything.

        Raises:
            ConfigError: the weights cannot be found, fetched or fitted.
        """
        ...

    def label(self, images: Sequence[CaptionImage]) -> list[Annotation]:
        """Pseudo-label images with the network as it is; one annotation for each image, in order."""
        ...

    def teacher_changed(self) -> None:
        """Forget statistics that belonged to the previous teacher's weights."""
        ...

    def collate(
        self, labelled: Sequence[LabelledImage], base: Sequence[BaseImage], *, rng: np.random.Generator
    ) -> Batch:
        """Make a CPU batch: views drawn with `rng`, padded. Runs in a loader thread; either list may be empty."""
        ...

    def note_words(self, words: Sequence[Sequence[str]]) -> None:
        """Take note of the words of all samples of the coming step, a list for each sample.

        Every rank of a trainer is told of all ranks' samples in the same order, so that vocabularies stay alike.
        """
        ...

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the named scalar losses of one step, with their graph; their sum is minimised.

        Switches the network to training mode and moves the batch to its device; the caller chooses autocast.

        Raises:
            TrainingError: a loss is not finite.
        """
        ...

    def observations(self) -> dict[str, list[float]]:
        """Return and forget values seen in the last steps, for histograms (`reliability`, `noise`, ...)."""
        ...

    def state(self) -> dict[str, Any]:
        """JSON-able state beside the weights: vocabulary with counts, running statistics."""
        ...

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a state written by `state()`; word indices stay as they were."""
        ...


@runtime_checkable
class InstanceMethod(Method, Detector, BoxProposer, Protocol):
    """A method whose network finds objects by name: its checkpoints are judged by instance AP and proposal recall."""


@runtime_checkable
class RatedDetector(Protocol):
    """A method whose detections come with the reliability that its labels carry; `predict` asks it."""

    def detect_rated(
        self,
        images: Sequence[npt.NDArray[np.uint8]],
        words: Sequence[str],
        *,
        score_threshold: float,
        max_detections: int,
    ) -> Sequence[FoundObjects]:
        """Return what is found in each image, in order, as `Detector.detect` does for one vocabulary."""
        ...


@runtime_checkable
class WordCarrier(Protocol):
    """A method whose checkpoints carry the text embeddings of its words, to be used where there is no encoder."""

    def class_embeddings(self) -> tuple[list[str], Tensor]:
        """Return N words and their embeddings [N, D] on the CPU."""
        ...


@runtime_checkable
class CaptionGrounder(Method, Protocol):
    """A method that learns from captions without labels: in caption pretraining, and beside teacher training."""

    def collate_captions(self, images: Sequence[CaptionImage], *, rng: np.random.Generator) -> Batch:
        """Make a CPU batch of caption images. Runs in a loader thread."""
        ...

    def ground(self, batch: Batch, *, regions: Literal["windows", "proposals"], company: Company) -> Matching:
        """Return the losses of matching images and captions, with their graph; every rank calls this together.

        Switches the network to training mode and moves the batch to its device; the caller chooses autocast.

        Raises:
            TrainingError: a loss is not finite.
        """
        ...

    def freeze_embedding(self) -> None:
        """Let the layer that embeds regions into the text space stay as it is; before an optimiser is made."""
        ...


@runtime_checkable
class NoiseMapper(Protocol):
    """A method that can say how uncertain each pixel of a mask is; pictures show it."""

    def noise_maps(
        self, images: Sequence[npt.NDArray[np.uint8]], boxes_xyxy: Sequence[npt.ArrayLike]
    ) -> list[npt.NDArray[np.float32]]:
        """Return variances on the RoI grid of given boxes [K, 4] in pixels of each image: [K, g, g] each."""
        ...
