"""What one teacher says of the canary set: frozen images that all candidates label; only the teacher differs."""

from __future__ import annotations

from typing import Final

import msgspec

from xpm_stream.errors import DataError
from xpm_stream.monitoring.drift_measures import LabelMeasures

CANARY_SCHEMA_VERSION: Final = 1
CANARY_LABELS_FOLDER: Final = "drift/canary/labels"


class CanaryInstance(msgspec.Struct, frozen=True, kw_only=True):
    """One pseudo instance of a canary image."""

    word: str
    box_xyxy: tuple[float, float, float, float]  # pixels of the stored image


class CanaryLabels(msgspec.Struct, frozen=True, kw_only=True):
    """The labels of one checkpoint; labels of one canary set can be compared image by image."""

    schema_version: int = CANARY_SCHEMA_VERSION
    checkpoint: str
    canary_id: str  # of the canary set
    images: list[LabelMeasures]  # one for each image of the set, in its order
    instances: list[list[CanaryInstance]] = []  # the same images

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
    """Return them as JSON."""
    return msgspec.json.encode(labels)


def decode_canary_labels(data: bytes) -> CanaryLabels:
    """Return what `encode_canary_labels` wrote.

    Raises:
        DataError: it is damaged, or of a newer schema.
    """
    try:
        found = msgspec.json.decode(data, type=CanaryLabels)
    except msgspec.DecodeError as error:
        raise DataError(f"these are no canary labels ({error}): delete the file, and they are made again") from error
    if found.schema_version > CANARY_SCHEMA_VERSION:
        raise DataError(
            f"the canary labels of {found.checkpoint} have schema {found.schema_version}, this xpm-stream reads up to "
            f"{CANARY_SCHEMA_VERSION}: update it"
        )
    return found
