"""What travels between processes: sample identities, labels, teacher versions. Typed, versioned, validated on read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NewType

import msgspec

SCHEMA_VERSION: Final = 1
MASK_GRID: Final = 28  # side of the RoI grid of a pseudo mask, in cells (FPN mask head; METHODS 1.3)

ShardId = NewType("ShardId", str)  # hash of URL + size/etag: a rewritten shard is a new shard


# gc=False: records never refer back to themselves, and thousands of them wait for a checkpoint at a time.
class SampleId(msgspec.Struct, frozen=True, gc=False, order=True):
    """Identity of one sample: which pass over the corpus, which shard, which place in it."""

    pass_index: int
    shard_id: ShardId
    ordinal: int  # 0-based place of the sample in its shard

    def __str__(self) -> str:
        return f"{self.pass_index}:{self.shard_id}:{self.ordinal}"


class TeacherVersion(msgspec.Struct, frozen=True, gc=False, order=True):
    """Which teacher wrote a label: its number in the promotion log, and the training it came from."""

    promotion: int  # number in the promotion log, 1-based; grows with every entry
    epoch: int  # trainer epoch that produced it (0: teacher training)
    step: int  # optimiser step of that trainer

    def __str__(self) -> str:
        return f"v{self.promotion}"


class ImageReference(msgspec.Struct, frozen=True, gc=False, tag="reference"):
    """An image as a byte range of a seekable, uncompressed shard."""

    url: str
    offset: int  # bytes from the start of the tar to the first byte of the image file
    size: int  # bytes
    crc32: int | None = None  # zlib.crc32 of these bytes as they were labelled; none: nobody computed it


class ImageInline(msgspec.Struct, frozen=True, gc=False, tag="inline"):
    """An image carried in the message: the encoded file's bytes (JPEG, PNG or WebP)."""

    data: bytes


ImagePayload = ImageReference | ImageInline


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What any kind of annotation can say of one word it places in an image: all that counting and drift need."""

    word: str
    score: float  # teacher confidence that the word is there, 0..1
    reliability: float | None = None  # 0..1 where the teacher can give one, higher is more trustworthy
    area_share: float | None = None  # 0..1, of the image, by its box or mask; none: the annotation does not place it
    box_xyxy: tuple[float, float, float, float] | None = None  # pixels of the stored image, where it has a box


class PseudoInstance(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One object a teacher believes it sees (XPM Eq. 2 and 4)."""

    word: str
    box_xyxy: tuple[float, float, float, float]  # pixels of the stored image
    mask_bits: bytes  # RoI grid over box_xyxy, row-major, MASK_GRID x MASK_GRID bits = 98 bytes, most significant first
    score: float  # teacher confidence that the word is at the box, 0..1
    reliability: float | None = None  # 0..1 where the teacher can give one, higher is more trustworthy


class RegionProposal(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A class-agnostic proposal of the teacher, for methods whose student learns from more than the instances."""

    box_xyxy: tuple[float, float, float, float]  # pixels of the stored image
    background_score: float  # teacher's probability that no class is there, 0..1


class InstanceAnnotation(msgspec.Struct, frozen=True, gc=False, kw_only=True, tag="instances"):
    """What the region methods (XPM and those it compares with) say of one image."""

    instances: list[PseudoInstance]
    proposals: list[RegionProposal] = []  # best first; empty for methods that need none

    def findings(self, image_size_wh: tuple[int, int]) -> list[Finding]:
        """Return one finding for each instance of an image of this size in pixels."""
        return [
            Finding(
                word=one.word,
                score=one.score,
                reliability=one.reliability,
                area_share=_area_share(one.box_xyxy, image_size_wh),
                box_xyxy=one.box_xyxy,
            )
            for one in self.instances
        ]

    def partner_images(self) -> Sequence[ImagePayload]:
        """Return the further images that training on this annotation needs: none."""
        return ()


# A new kind of method adds its annotation to this tagged union, with `findings` and `partner_images`, and its wire form
# to annotation_wire.py. Stages, queue, audit and registry never look further inside.
Annotation = InstanceAnnotation


class LabelMessage(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One labelled sample on the queue."""

    schema_version: int = SCHEMA_VERSION
    method: str
    sample: SampleId
    teacher: TeacherVersion
    image: ImagePayload
    image_size_wh: tuple[int, int]  # pixels of the stored image
    words: list[str]  # the captions' object nouns, in order of first mention; may hold words without an instance
    annotation: Annotation
    labelled_at_s: float  # Unix time
    key: str = ""  # the sample's WebDataset key, for people
    # Object nouns of each caption, zeros included, each word once a caption; empty: an older release wrote the label.
    nouns_per_caption: list[int] = []

    def findings(self) -> list[Finding]:
        """Return what its annotation says of the image, one finding for each thing found."""
        return self.annotation.findings(self.image_size_wh)


def _area_share(box_xyxy: tuple[float, float, float, float], image_size_wh: tuple[int, int]) -> float:
    x1, y1, x2, y2 = box_xyxy
    width, height = image_size_wh
    inside = max(0.0, min(x2, width) - max(x1, 0.0)) * max(0.0, min(y2, height) - max(y1, 0.0))
    return inside / (width * height)
