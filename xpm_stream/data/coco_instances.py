"""What an annotation places in an image, as COCO's fields. A new kind of annotation gets its masks here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypedDict

from xpm_stream.masks import CocoRle, encode_rle, paste_roi_mask, rle_area, unpack_mask_bits
from xpm_stream.records import Annotation


class InstanceFields(TypedDict):
    """One instance; COCO's names, and ours for what COCO lacks."""

    segmentation: CocoRle
    bbox: list[float]  # left, top, width, height in pixels: the teacher's box, not the mask's
    area: int  # pixels of the mask
    score: float
    reliability: float | None


def instance_fields(
    annotation: Annotation, places: Iterable[int], *, image_size_wh: tuple[int, int]
) -> Iterator[InstanceFields | None]:
    """Yield the fields of some instances, in order; none for one whose mask covers no pixel.

    A RoI-grid mask is pasted into its box as `masks.paste_roi_mask` says (detectron2's convention): its bits are
    sampled bilinearly at pixel centres, and a pixel belongs to the mask from 0.5 on.

    Args:
        annotation: of an image.
        places: which of its `findings`.
        image_size_wh: pixels of the image; boxes are cut off there.
    """
    width, height = image_size_wh
    for place in places:
        instance = annotation.instances[place]
        bits = unpack_mask_bits(instance.mask_bits)
        rle = encode_rle(paste_roi_mask(bits, instance.box_xyxy, height=height, width=width))
        area = rle_area(rle)
        if not area:
            yield None
            continue
        x0, y0, x1, y1 = instance.box_xyxy
        left, top = max(x0, 0.0), max(y0, 0.0)
        yield InstanceFields(
            segmentation=rle,
            bbox=[left, top, min(x1, float(width)) - left, min(y1, float(height)) - top],
            area=area,
            score=instance.score,
            reliability=instance.reliability,
        )
