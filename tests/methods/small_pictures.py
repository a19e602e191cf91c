"""Pictures to feed a small method with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from xpm_stream.data.base_set import BaseImage
from xpm_stream.masks import encode_rle
from xpm_stream.methods.base import CaptionImage
from xpm_stream.methods.xpm import Xpm
from xpm_stream.records import SampleId, ShardId

BASE_CLASSES = ["dog", "car", "cup"]

MakeXpm = Callable[..., Xpm]


def caption_image(ordinal: int, *, words: list[str], size_hw: tuple[int, int] = (50, 70)) -> CaptionImage:
    """A random picture with these nouns."""
    pixels = np.random.default_rng(ordinal).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    return CaptionImage(sample=SampleId(0, ShardId("s"), ordinal), pixels=pixels, words=words, captions=[])


def base_image(boxes: list[tuple[int, int, int, int]], *, crowd: bool = False) -> BaseImage:
    """A picture of dogs, one for each box."""
    masks = np.zeros((len(boxes), 60, 60), dtype=np.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = 1
    return BaseImage(
        image_id=1,
        pixels=np.random.default_rng(3).integers(0, 256, (60, 60, 3), dtype=np.uint8),
        boxes_xyxy=np.array(boxes, dtype=np.float32).reshape(-1, 4),
        class_names=["dog"] * len(boxes),
        is_crowd=np.full(len(boxes), crowd),
        rles=[encode_rle(mask) for mask in masks],
    )
