"""A method whose network is a tally: training on sample i adds exactly one to weight i, through the real optimiser.

So a checkpoint proves by itself, without the ledger that it is to check, how often each sample reached its lineage.
Which sample it is comes from the pixels, which carry the sample's number past every identity of the system.

The configuration must let the optimiser count: `COUNTING_OPTIMISER`. Several ranks count too: gradients are averaged
over all ranks, so each rank's loss is scaled by their number.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import safetensors.numpy
import torch
from torch import Tensor, nn

from xpm_stream.config import RunConfig
from xpm_stream.data.base_set import BaseImage
from xpm_stream.methods.base import Batch, CaptionImage, LabelledImage
from xpm_stream.records import Annotation, InstanceAnnotation, PseudoInstance

METHOD: Final = "benchmarks.stub.counting:Counting"
BASE_CLASSES: Final = ("dog",)
# One step of plain SGD with rate 1 on a loss of -sum(weights) adds exactly one.
COUNTING_OPTIMISER: Final = {
    "name": "sgd",
    "momentum": 0.0,
    "learning_rate": 1.0,
    "weight_decay": 0.0,
    "clip_norm": 1e12,
    "schedule": "constant",
    "warmup_steps": 0,
}
SAMPLES_VARIABLE: Final = "XPM_STUB_SAMPLES"  # how many samples the corpus has
PACE_VARIABLE: Final = "XPM_STUB_PACE_MS"  # what labelling a batch, and a step, take beside; none: nothing
_MASK: Final = bytes(98)  # a 28 x 28 RoI grid, the size of a real label


def pixels_of(number: int) -> npt.NDArray[np.uint8]:
    """Return an 8 x 8 image, the smallest that is taken, whose colour is the sample's number."""
    colour = np.array([number >> 16 & 255, number >> 8 & 255, number & 255], dtype=np.uint8)
    return np.broadcast_to(colour, (8, 8, 3)).copy()


def number_of(pixels: npt.NDArray[np.uint8]) -> int:
    """Return the number that `pixels_of` drew."""
    red, green, blue = (int(value) for value in pixels[0, 0])
    return red << 16 | green << 8 | blue


class Tally(nn.Module):
    """One weight for each sample of the corpus."""

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.trained = nn.Parameter(torch.zeros(samples))


class Counting:
    """The stub method: labels at once, trains by counting."""

    def __init__(self, config: RunConfig, *, base_classes: Sequence[str]) -> None:
        self._tally = Tally(int(os.environ[SAMPLES_VARIABLE]))
        self._pace_s = float(os.environ.get(PACE_VARIABLE, "0")) / 1000

    @property
    def network(self) -> nn.Module:
        """The tally."""
        return self._tally

    def load_starting_weights(self) -> None:
        """Nothing to load."""

    def label(self, images: Sequence[CaptionImage]) -> list[Annotation]:
        """One box with a mask for each word, as large as a real label."""
        time.sleep(self._pace_s)
        return [
            InstanceAnnotation(
                instances=[
                    PseudoInstance(
                        word=word, box_xyxy=(0.0, 0.0, 8.0, 8.0), mask_bits=_MASK, score=0.5, reliability=0.5
                    )
                    for word in image.words
                ]
            )
            for image in images
        ]

    def teacher_changed(self) -> None:
        """A tally labels like any other."""

    def collate(
        self, labelled: Sequence[LabelledImage], base: Sequence[BaseImage], *, rng: np.random.Generator
    ) -> Batch:
        """Read the samples' numbers from their pixels: [B] int64."""
        return torch.tensor([number_of(image.pixels) for image in labelled], dtype=torch.int64)

    def note_words(self, words: Sequence[Sequence[str]]) -> None:
        """A tally has no words."""

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Minus the sum of the samples' weights: its gradient step adds one to each."""
        time.sleep(self._pace_s)
        numbers: Tensor = batch.to(self._tally.trained.device)
        return {"count": -self._tally.trained[numbers].sum() * _number_of_ranks()}

    def observations(self) -> dict[str, list[float]]:
        """Nothing to observe."""
        return {}

    def state(self) -> dict[str, Any]:
        """No words are learnt."""
        return {"vocabulary": {}}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Nothing to take up."""


def times_trained(files: Mapping[str, bytes]) -> npt.NDArray[np.int64]:
    """Return how often each sample reached the lineage of a checkpoint, from its weights alone.

    Raises:
        ValueError: a weight is no whole number: the optimiser of the run cannot count.
    """
    weights = safetensors.numpy.load(files["model.safetensors"])["trained"]
    counts: npt.NDArray[np.int64] = np.rint(weights).astype(np.int64)
    if not np.array_equal(counts, weights):
        raise ValueError("weights that are no whole numbers: run with COUNTING_OPTIMISER")
    return counts


def _number_of_ranks() -> int:
    distributed = torch.distributed
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1
