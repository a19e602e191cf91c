"""Predictions as pictures: masks as tints, boxes as lines, words on plates."""

from __future__ import annotations

import colorsys
import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from xpm_stream.masks import decode_rle
from xpm_stream.monitoring.picture_parts import Colour, place_tags
from xpm_stream.stages.predictions import Prediction

_LEAST_LONG_SIDE: Final = 640  # pixels; below, words would cover what they name
_MASK_ALPHA: Final = 0.45
_LEAST_CONTRAST: Final = 4.5  # of white type: WCAG 2, level AA
_SMOOTH: Final = Image.Resampling.BILINEAR
_GOLDEN_RATIO: Final = 0.618033988749895


def colour_of(word: str) -> Colour:
    """Return the colour of a word: the same in every picture, and dark enough under white type."""
    # Multiples of the golden ratio spread evenly however few there are.
    number = zlib.crc32(word.casefold().encode())
    hue, shade = (number * _GOLDEN_RATIO) % 1.0, (number >> 8) % 3
    lightness = (0.34, 0.42, 0.5)[shade]
    while _contrast_to_white(colour := _rgb(hue, lightness)) < _LEAST_CONTRAST:
        lightness -= 0.02  # yellow, green and cyan look lighter than red and blue do
    return colour


def _rgb(hue: float, lightness: float) -> Colour:
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, 0.85)
    return round(red * 255), round(green * 255), round(blue * 255)


def _contrast_to_white(colour: Colour) -> float:
    """Return WCAG's contrast ratio, 1 to 21."""
    shares = np.divide(colour, 255)
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return 1.05 / (float(linear @ (0.2126, 0.7152, 0.0722)) + 0.05)


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
    picture = Image.fromarray(_tint_masks(np.array(image), found, colours), "RGB")
    draw = ImageDraw.Draw(picture)
    boxes = (found.boxes * np.tile(np.divide(size, found.size_wh), 2)).tolist()
    line = max(2, max(size) // 300)
    for box, colour in reversed(list(zip(boxes, colours, strict=True))):  # the best last: nothing lies over it
        draw.rectangle(box, outline=colour, width=line)
    tags = [
        (f"{word} {score:.2f}", tuple(box), colour)
        for word, score, box, colour in zip(found.words, found.scores.tolist(), boxes, colours, strict=True)
    ]
    place_tags(draw, tags, within=(0, 0, *size), size=max(15, max(size) // 45))
    return picture


def _tint_masks(pixels: npt.NDArray[np.uint8], found: Prediction, colours: Sequence[Colour]) -> npt.NDArray[np.uint8]:
    """Tint each mask in place, a shared pixel as the best one's; one at a time, for a photograph has large ones."""
    height, width = pixels.shape[:2]
    free = np.ones((height, width), dtype=np.bool_)
    for rle, colour in zip(found.rles, colours, strict=True):
        shares = decode_rle(rle) * np.uint8(255)
        if (width, height) != found.size_wh:
            shares = np.asarray(Image.fromarray(shares).resize((width, height), _SMOOTH))
        own = (shares >= 128) & free
        free &= ~own
        for channel, shade in zip(np.moveaxis(pixels, 2, 0), colour, strict=True):
            tinted = np.rint(np.arange(256) * (1 - _MASK_ALPHA) + shade * _MASK_ALPHA).astype(np.uint8)
            channel[own] = tinted[channel[own]]
    return pixels
