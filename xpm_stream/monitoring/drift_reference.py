"""What windows of labels are compared with: bins and counts made from a sample of labels.

The counts of every label are kept, in stream order: thresholds are bootstrapped from them, again if the window size or
the time between false alarms is changed later.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from typing import Final, TypeVar, get_args

import msgspec
import numpy as np

from xpm_stream.errors import DataError
from xpm_stream.monitoring.drift_bins import (
    BinLayout,
    Bins,
    Counts,
    ShareBins,
    make_quantile_bins,
    make_word_bins,
)
from xpm_stream.monitoring.drift_measures import LabelMeasures, Measure

DRIFT_SCHEMA_VERSION: Final = 1
MIN_REFERENCE_LABELS: Final = 100
MIN_REFERENCE_VALUES: Final = 100  # of a quantity; one with fewer is left out, and named in `left_out`
MAX_REFERENCE_LABELS: Final = 1_000_000  # bounds what reading a state may allocate
_COUNT_TYPE: Final = np.dtype("<u2")
_QUANTILE_BINNED: Final = tuple(one for one in get_args(Measure) if one != "instances_per_label")

State = TypeVar("State", bound=msgspec.Struct)


class DriftReference:
    """A sample of labels as counts on bins made from it. Any number of them may be watched side by side."""

    def __init__(
        self,
        *,
        name: str,
        teacher: str,
        bins: Sequence[Bins],
        label_counts: Counts,
        left_out: dict[str, int],
    ) -> None:
        self.name = name  # e.g. "frozen", "previous_teacher"
        self.teacher = teacher  # version of the teacher whose labels these are
        self.layout = BinLayout(bins)
        self.label_counts = label_counts  # (labels, columns), in stream order
        self.left_out = left_out  # quantities with too few values to be watched -> how many there were
        self.counts: Counts = label_counts.sum(axis=0)
        self.bins_id = hashlib.sha256(msgspec.json.encode(list(bins))).hexdigest()[:16]

    @property
    def num_labels(self) -> int:
        """Labels in the sample."""
        return len(self.label_counts)


class DriftReferenceState(msgspec.Struct, frozen=True, kw_only=True):
    """A reference as it is kept in JSON."""

    schema_version: int = DRIFT_SCHEMA_VERSION
    name: str
    teacher: str
    num_labels: int
    bins: list[Bins]
    left_out: dict[str, int]
    label_counts: bytes  # (labels, columns) little-endian uint16, row-major, zlib; base64 in JSON


def build_reference(
    labels: Sequence[LabelMeasures],
    *,
    name: str,
    teacher: str,
    num_bins: int = 10,
    top_words: int = 50,
    low_reliability: float | None = None,
) -> DriftReference:
    """Return the reference of a sample of labels, given in stream order.

    Args:
        labels: at least 100; twenty times a window's labels is a good number (docs/drift.md says why).
        name: what verdicts call the reference.
        teacher: version of the teacher that made the labels.
        num_bins: quantile bins of each number, at most.
        top_words: words with a bin of their own.
        low_reliability: level below which a reliability counts as low, 0..1; None: the sample's 10 % quantile.

    Raises:
        DataError: too few labels, or values that are not finite.
    """
    if len(labels) < MIN_REFERENCE_LABELS:
        raise DataError(f"a drift reference needs at least {MIN_REFERENCE_LABELS} labels, these are {len(labels)}")
    bins: list[Bins] = []
    left_out: dict[str, int] = {}
    for measure in _QUANTILE_BINNED:
        values = [value for label in labels for value in label.values(measure)]
        if len(values) < MIN_REFERENCE_VALUES:
            left_out[measure] = len(values)
            continue
        bins.append(make_quantile_bins(measure, values, num_bins=num_bins))
        if measure == "reliability":
            level = float(np.quantile(values, 0.1)) if low_reliability is None else low_reliability
            bins.append(ShareBins(quantity="low_reliability", measure=measure, below=level))
        if measure == "nouns_per_caption":
            bins.append(ShareBins(quantity="caption_without_nouns", measure=measure, below=0.5))
    bins.append(ShareBins(quantity="empty_label", measure="instances_per_label", below=0.5))
    words = [word for label in labels for word in label.words]
    if len(words) < MIN_REFERENCE_VALUES:
        left_out["word"] = len(words)
    else:
        bins.append(make_word_bins(words, top=top_words))
    return DriftReference(
        name=name, teacher=teacher, bins=bins, label_counts=BinLayout(bins).count(labels), left_out=left_out
    )


def encode_reference(reference: DriftReference) -> bytes:
    """Return the reference as JSON.

    Raises:
        DataError: one label has more than 65535 values in one bin.
    """
    if reference.label_counts.max(initial=0) > np.iinfo(_COUNT_TYPE).max:
        raise DataError("one label of the drift reference has more than 65535 values in one bin: leave it out")
    state = DriftReferenceState(
        name=reference.name,
        teacher=reference.teacher,
        num_labels=reference.num_labels,
        bins=list(reference.layout.bins),
        left_out=reference.left_out,
        label_counts=zlib.compress(reference.label_counts.astype(_COUNT_TYPE).tobytes()),
    )
    return msgspec.json.encode(state)


def decode_reference(data: bytes) -> DriftReference:
    """Return the reference that `encode_reference` wrote.

    Raises:
        DataError: it is no reference, is damaged, or is of a newer schema.
    """
    state = decode_state(data, DriftReferenceState, what="drift reference")
    columns = BinLayout(state.bins).num_columns
    if not MIN_REFERENCE_LABELS <= state.num_labels <= MAX_REFERENCE_LABELS:
        raise DataError(f"the drift reference says it has {state.num_labels} labels: build it again")
    size = state.num_labels * columns * _COUNT_TYPE.itemsize
    unpacker = zlib.decompressobj()
    try:
        raw = unpacker.decompress(state.label_counts, size + 1)  # never more than it may have, whatever it says
    except zlib.error as error:
        raise DataError(f"the drift reference's counts are damaged ({error}): build it again") from error
    if len(raw) != size:
        raise DataError(f"the drift reference's counts are not the {size} bytes its bins need: build it again")
    return DriftReference(
        name=state.name,
        teacher=state.teacher,
        bins=state.bins,
        label_counts=np.frombuffer(raw, dtype=_COUNT_TYPE).reshape(state.num_labels, columns).astype(np.int64),
        left_out=state.left_out,
    )


def decode_state(data: bytes, kind: type[State], *, what: str) -> State:
    """Return a versioned record from JSON.

    Raises:
        DataError: it is none, or of a newer schema.
    """
    try:
        version = msgspec.json.decode(data, type=_Versioned).schema_version
        if version > DRIFT_SCHEMA_VERSION:
            raise DataError(
                f"the {what} has schema {version}, this xpm-stream reads up to {DRIFT_SCHEMA_VERSION}: "
                "read it with the version that wrote it"
            )
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:  # ValidationError included
        raise DataError(f"this is no {what}: {error}") from error


class _Versioned(msgspec.Struct):
    schema_version: int
