"""What one teacher says of the canary set: frozen images that all candidates label; only the teacher differs."""

from __future__ import annotations

from typing import Final

import msgspec

from xpm_stream.monitoring.drift_measures import LabelMeasures
from xpm_stream.monitoring.drift_reference import DRIFT_SCHEMA_VERSION, decode_state

CANARY_LABELS_FOLDER: Final = "drift/canary/labels"


class CanaryInstance(msgspec.Struct, frozen=True, kw_only=True):
    """One pseudo instance of a canary image."""

    word: str
    box_xyxy: tuple[float, float, float, float]  # pixels of the stored image


class CanaryLabels(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint's labels of a canary set, one for each image, in the set's order."""

    schema_version: int = DRIFT_SCHEMA_VERSION
    checkpoint: str
    canary_id: str  # of the set; labels of different sets cannot be compared
    images: list[LabelMeasures]
    instances: list[list[CanaryInstance]] = []  # of the same images

    @property
    def num_instances(self) -> int:
        """Pseudo instances of all images."""
        return sum(len(image.scores) for image in self.images)

    @property
    def mean_reliability(self) -> float | None:
        """Mean over all instances, 0..1; None where the teacher gives none."""
        values = [value for image in self.images for value in image.reliabilities]
        return sum(values) / len(values) if values else None


def canary_labels_path(checkpoint: str) -> str:
    """Return where the labels of a checkpoint are in the registry."""
    return f"{CANARY_LABELS_FOLDER}/{checkpoint}.json"


def encode_canary_labels(labels: CanaryLabels) -> bytes:
    """Return the labels as JSON."""
    return msgspec.json.encode(labels)


def decode_canary_labels(data: bytes) -> CanaryLabels:
    """Return labels from their JSON.

    Raises:
        DataError: they are none, or of a newer schema.
    """
    return decode_state(data, CanaryLabels, what="file of canary labels")
