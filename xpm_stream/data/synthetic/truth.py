"""What a caption sample really shows and how true its captions are: the `truth` field of KEY.json.

The loop never reads it. Measurements do: pseudo-label accuracy, and how well reliability tells right from wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from xpm_stream.errors import DataError

TRUTH_FIELD: Final = "truth"


class TrueMask(msgspec.Struct, frozen=True):
    """A full-image mask as COCO's compressed run lengths."""

    size: tuple[int, int]  # height, width in pixels
    counts: str

    def decode(self) -> npt.NDArray[np.bool_]:
        """The mask, (H, W)."""
        decoded = coco_mask.decode({"size": list(self.size), "counts": self.counts.encode("ascii")})
        return np.asarray(decoded).astype(bool)


class TrueInstance(msgspec.Struct, frozen=True):
    """One object that is in the picture."""

    word: str  # class name
    box_xyxy: tuple[int, int, int, int]  # tight around the visible pixels; right and bottom exclusive
    segmentation: TrueMask  # visible pixels


class TrueMention(msgspec.Struct, frozen=True):
    """One noun of a caption."""

    word: str  # class name
    said: str  # as the caption has it: plural or synonym perhaps
    count: int
    right: bool  # whether the picture shows it


class Truth(msgspec.Struct, frozen=True):
    """All that is known of one caption sample."""

    instances: list[TrueInstance]
    mentions: list[list[TrueMention]]  # one list for each caption, in order

    @property
    def wrong_words(self) -> frozenset[str]:
        """Class names that the captions mention and the picture does not show."""
        return frozenset(mention.word for caption in self.mentions for mention in caption if not mention.right)

    @property
    def mentioned_words(self) -> frozenset[str]:
        """Class names that the captions mention."""
        return frozenset(mention.word for caption in self.mentions for mention in caption)


def read_truth(fields: Mapping[str, object] | bytes) -> Truth | None:
    """The truth in a sample's KEY.json (its bytes, or decoded), or None where the corpus has none.

    Raises:
        DataError: the field is there and is not a truth of ours.
    """
    try:
        if isinstance(fields, bytes):
            fields = msgspec.json.decode(fields, type=dict[str, object])
        if TRUTH_FIELD not in fields:
            return None
        return msgspec.convert(fields[TRUTH_FIELD], Truth)
    except msgspec.DecodeError as error:
        raise DataError(f"the sample's `{TRUTH_FIELD}` field is not one of this version ({error})") from error
