"""Predictions as pictures: masks and boxes by torchvision, words on plates."""

from __future__ import annotations

import colorsys
import zlib
from typing import Final

import numpy as np
import torch
from PIL import Image, ImageDraw
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

from xpm_stream.masks import decode_rle
from xpm_stream.monitoring.picture_parts import Colour, place_tags
from xpm_stream.stages.predictions import Prediction

_LEAST_LONG_SIDE: Final = 640  # pixels; below, words would cover what they name
_MASK_ALPHA: Final = 0.45
_GOLDEN_RATIO: Final = 0.618033988749895


def colour_of(word: str) -> Colour:
    """Return the colour of a word: the same in every picture, and dark enough under white type."""
    # Multiples of the golden ratio spread evenly however few there are.
    number = zlib.crc32(word.casefold().encode())
    hue, shade = (number * _GOLDEN_RATIO) % 1.0, (number >> 8) % 3
    lightness = (0.34, 0.42, 0.5)[shade] - (0.08 if 0.1 < hue < 0.5 else 0.0)  # yellow and green look lighter
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, 0.85)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_prediction(found: Prediction, *, long_side: int | None) -> Image.Image:
    """Return the image of a prediction with what was found in it.

    Raises:
        DataError: the image is not where it was any more.
    """
    image = Image.fromarray(found.read_pixels(), "RGB")
    scale = (long_side or max(_LEAST_LONG_SIDE, *image.size)) / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    image = image.resize(size, Image.Resampling.BICUBIC)
    if not len(found):
        return image
    colours = [colour_of(word) for word in found.words]
    canvas = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    canvas = draw_segmentation_masks(canvas, _disjoint_masks(found, size), alpha=_MASK_ALPHA, colors=list(colours))
    boxes = torch.from_numpy(found.boxes * np.tile(np.divide(size, found.size_wh), 2))
    line = max(2, max(size) // 300)
    order = list(range(len(found)))[::-1]  # the best last, so that nothing lies over it
    canvas = draw_bounding_boxes(canvas, boxes[order], colors=[colours[index] for index in order], width=line)
    picture = Image.fromarray(canvas.permute(1, 2, 0).contiguous().numpy(), "RGB")
    tags = [
        (f"{word} {score:.2f}", tuple(box), colour)
        for word, score, box, colour in zip(found.words, found.scores.tolist(), boxes.tolist(), colours, strict=True)
    ]
    place_tags(ImageDraw.Draw(picture), tags, within=(0, 0, *size), size=max(15, max(size) // 45))
    return picture


def _disjoint_masks(found: Prediction, size_wh: tuple[int, int]) -> torch.Tensor:
    """Masks at the picture's size, a shared pixel being the best one's: torchvision would leave it uncoloured."""
    masks = np.zeros((len(found), size_wh[1], size_wh[0]), dtype=np.bool_)
    free = np.ones(masks.shape[1:], dtype=np.bool_)
    for index, rle in enumerate(found.rles):
        shares = Image.fromarray(decode_rle(rle) * np.uint8(255)).resize(size_wh, Image.Resampling.BILINEAR)
        masks[index] = (np.asarray(shares) >= 128) & free
        free &= ~masks[index]
    return torch.from_numpy(masks)
