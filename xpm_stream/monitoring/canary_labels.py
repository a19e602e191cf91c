"""What one checkpoint says of the canary set: frozen images that every candidate labels."""

from __future__ import annotations

import msgspec

from xpm_stream.monitoring.drift_measures import LabelMeasures
from xpm_stream.monitoring.drift_reference import DRIFT_SCHEMA_VERSION, decode_state


class CanaryLabels(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint's labels of a canary set, one for each image, in the set's order."""

    schema_version: int = DRIFT_SCHEMA_VERSION
    checkpoint: str
    canary_id: str  # of the set; labels of different sets cannot be compared
    images: list[LabelMeasures]


def encode_canary_labels(labels: CanaryLabels) -> bytes:
    """Return the labels as JSON."""
    return msgspec.json.encode(labels)


def decode_canary_labels(data: bytes) -> CanaryLabels:
    """Return labels from their JSON.

    Raises:
        DataError: they are none, or of a newer schema.
    """
    return decode_state(data, CanaryLabels, what="file of canary labels")
