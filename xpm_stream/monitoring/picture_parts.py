"""The small parts pictures are drawn from: colours, type, masks and heat on pixels, tags, bars, wrapped text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from xpm_stream.masks import sample_roi_grid

Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]
Pixels = npt.NDArray[np.uint8]

PAGE: Final[Colour] = (244, 245, 247)
CARD: Final[Colour] = (255, 255, 255)
EDGE: Final[Colour] = (222, 225, 230)
INK: Final[Colour] = (28, 32, 38)
QUIET: Final[Colour] = (106, 114, 126)
TRACK: Final[Colour] = (230, 233, 238)
# One for each object of an image, in order: told apart on photographs, and dark enough to be read as text on white.
OBJECT_COLOURS: Final[tuple[Colour, ...]] = (
    (31, 98, 224),
    (217, 83, 12),
    (14, 138, 78),
    (178, 34, 178),
    (196, 30, 58),
    (0, 128, 144),
    (112, 66, 214),
    (140, 92, 10),
)
_HEAT_STOPS: Final = (
    np.array(  # dark blue to pale yellow: lightness rises evenly, so it survives greyscale and colour blindness
        [
            (12, 8, 38),
            (62, 15, 114),
            (124, 29, 109),
            (186, 54, 85),
            (229, 92, 48),
            (251, 155, 27),
            (246, 214, 70),
            (252, 252, 176),
        ],
        dtype=np.float32,
    )
)
_BAR_COLOURS: Final[tuple[Colour, ...]] = ((206, 58, 58), (226, 158, 36), (38, 152, 90))
_SUPERSAMPLING: Final = 3
_SPACE: Final = 0.33  # of the type size; the typeface's own space is too narrow for words of several colours
_STROKE: Final = 0.4  # the typeface has one weight; a hair of stroke makes the second


@lru_cache(maxsize=32)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Pillow's own typeface at a size in pixels; nothing needs to be installed."""
    return ImageFont.load_default(size)


def object_colour(index: int) -> Colour:
    """Return the colour of the index-th object of an image."""
    return OBJECT_COLOURS[index % len(OBJECT_COLOURS)]


def heat_colours(shares: npt.NDArray[np.floating[Any]]) -> Pixels:
    """Colour shares 0..1 of any shape: uint8 [..., 3]; values beyond are clipped."""
    places = np.linspace(0, 1, len(_HEAT_STOPS))
    channels = [np.interp(shares, places, _HEAT_STOPS[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).astype(np.uint8)


def bar_colour(share: float) -> Colour:
    """Return red for the lowest third, amber for the middle, green for the highest."""
    return _BAR_COLOURS[min(max(int(share * 3), 0), 2)]


def fit(pixels: Pixels, *, width: int, height: int) -> Pixels:
    """Resize an image [H, W, 3] to lie within width x height, its shape kept."""
    scale = min(width / pixels.shape[1], height / pixels.shape[0])
    size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def blend_mask(pixels: Pixels, grid: npt.NDArray[Any], box_xyxy: Box, *, colour: Colour, line_width: int = 2) -> Pixels:
    """Lay a RoI-grid mask [g, g] over pixels: a tint inside, a solid outline with a white rim; edges are smooth."""
    fine_height, fine_width = (side * _SUPERSAMPLING for side in pixels.shape[:2])
    fine_box = np.asarray(box_xyxy, dtype=np.float64) * _SUPERSAMPLING
    fine = np.zeros((fine_height, fine_width), dtype=np.bool_)
    window, values = sample_roi_grid(grid, fine_box, height=fine_height, width=fine_width)
    fine[window] = values >= 0.5
    inner = ndimage.binary_erosion(fine, iterations=line_width * _SUPERSAMPLING)
    rim = ndimage.binary_dilation(fine, iterations=_SUPERSAMPLING) & ~fine
    blended = _mix(pixels, (255, 255, 255), 0.75 * _coverage(rim))
    return _mix(_mix(blended, colour, 0.42 * _coverage(inner)), colour, _coverage(fine & ~inner))


def blend_heat(
    pixels: Pixels, noise: npt.NDArray[np.floating[Any]], box_xyxy: Box, *, low: float, high: float
) -> Pixels:
    """Lay a RoI-grid noise map [g, g] over a faded grey copy of the pixels; `low` and `high` end the colour scale."""
    grey = pixels @ np.array([0.299, 0.587, 0.114])
    faded = np.repeat((150 + grey * 0.4).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
    height, width = pixels.shape[:2]
    window, values = sample_roi_grid(noise, box_xyxy, height=height, width=width, extend_edges=True)
    colours = heat_colours((values - low) / max(high - low, 1e-9))
    faded[window] = (0.9 * colours + 0.1 * faded[window]).astype(np.uint8)
    return faded


def _coverage(fine: npt.NDArray[np.bool_]) -> npt.NDArray[np.floating[Any]]:
    height, width = (side // _SUPERSAMPLING for side in fine.shape)
    shares: npt.NDArray[np.float64] = fine.reshape(height, _SUPERSAMPLING, width, _SUPERSAMPLING).mean(axis=(1, 3))
    return shares


def _mix(pixels: Pixels, colour: Colour, share: npt.NDArray[np.floating[Any]]) -> Pixels:
    return np.rint(pixels + (np.array(colour) - pixels) * share[..., None]).astype(np.uint8)


def place_tags(
    draw: ImageDraw.ImageDraw, tags: Sequence[tuple[str, Box, Colour]], *, within: Box, size: int = 15
) -> None:
    """Write words on coloured plates at the top left of their boxes, inside `within`, moved down off one another.

    Where there is no room left, plates overlap: the first on top.
    """
    margin, radius = size / 3, size * 4 / 15
    taken: list[Box] = []
    for text, box, _ in tags:
        width, height = draw.textlength(text, font=font(size)) + 2 * margin, size * 1.4
        x = min(max(box[0], within[0] + 1), within[2] - width - 1)
        y = min(max(box[1] - height, within[1] + 1), within[3] - height - 1)
        for _ in tags:
            clash = [other for other in taken if _overlap((x, y, x + width, y + height), other)]
            if not clash or max(other[3] for other in clash) + 1 + height > within[3]:
                break
            y = max(other[3] for other in clash) + 1
        taken.append((x, y, x + width, y + height))
    for plate, (text, _, colour) in reversed(list(zip(taken, tags, strict=True))):
        draw.rounded_rectangle(plate, radius=radius, fill=colour)
        middle = (plate[1] + plate[3]) / 2
        draw.text((plate[0] + margin, middle), text, font=font(size), fill=(255, 255, 255), anchor="lm")


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def draw_bar(
    draw: ImageDraw.ImageDraw, *, at: tuple[float, float], width: float, share: float, height: int = 7
) -> None:
    """Draw a bar filled to `share`, 0..1, from red (low) to green (high)."""
    x, y = at
    draw.rounded_rectangle((x, y, x + width, y + height), radius=height // 2, fill=TRACK)
    filled = max(height, width * min(max(share, 0.0), 1.0))
    draw.rounded_rectangle((x, y, x + filled, y + height), radius=height // 2, fill=bar_colour(share))


def draw_verdict(draw: ImageDraw.ImageDraw, *, at: tuple[float, float], right: bool, size: int = 12) -> None:
    """Draw a tick or a cross, drawn rather than typed because the typeface has neither."""
    x, y = at
    if right:
        points = [(x, y + size * 0.55), (x + size * 0.38, y + size * 0.9), (x + size, y + size * 0.1)]
        draw.line(points, fill=bar_colour(1.0), width=3, joint="curve")
    else:
        for start, end in (((0, 0.05), (0.9, 0.95)), ((0.9, 0.05), (0, 0.95))):
            corners = [(x + start[0] * size, y + start[1] * size), (x + end[0] * size, y + end[1] * size)]
            draw.line(corners, fill=bar_colour(0.0), width=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A piece of text without spaces and its colour."""

    text: str
    colour: Colour
    strong: bool = False  # a little bolder
    glued: bool = False  # no space before it, no line break either


def paste_rounded(page: Image.Image, pixels: Pixels, *, at: tuple[int, int], radius: int = 6) -> None:
    """Paste pixels with rounded corners."""
    image = Image.fromarray(pixels)
    large = Image.new("L", (image.width * _SUPERSAMPLING, image.height * _SUPERSAMPLING))
    corners = (0, 0, large.width - 1, large.height - 1)
    ImageDraw.Draw(large).rounded_rectangle(corners, radius=radius * _SUPERSAMPLING, fill=255)
    page.paste(image, at, large.resize(image.size, Image.Resampling.BOX))


def wrap_words(words: Sequence[Word], *, width: float, size: int, max_lines: int) -> list[list[Word]]:
    """Break words into lines no wider than `width`; what does not fit `max_lines` ends in an ellipsis."""
    space = _SPACE * size
    lines: list[list[Word]] = [[]]
    used = 0.0
    for word in words:
        length = word_width(word, size=size)
        gap = 0.0 if word.glued or not lines[-1] else space
        if lines[-1] and not word.glued and used + gap + length > width:
            if len(lines) == max_lines:
                lines[-1][-1] = Word(text="...", colour=QUIET)
                return lines
            lines.append([])
            used = gap = 0.0
        used += gap + length
        lines[-1].append(word)
    return lines


def draw_words(
    draw: ImageDraw.ImageDraw, lines: Sequence[Sequence[Word]], *, at: tuple[float, float], size: int
) -> None:
    """Write wrapped lines from their top left corner."""
    space = _SPACE * size
    for number, line in enumerate(lines):
        x, y = at[0], at[1] + number * line_height(size)
        for place, word in enumerate(line):
            x += space if place and not word.glued else 0
            stroke = _STROKE if word.strong else 0
            draw.text((x + stroke, y), word.text, font=font(size), fill=word.colour, stroke_width=stroke)
            x += word_width(word, size=size)


def word_width(word: Word, *, size: int) -> float:
    """Return the width of a drawn word in pixels."""
    return font(size).getlength(word.text) + (2 * _STROKE if word.strong else 0)


def line_height(size: int) -> int:
    """Return the distance of text lines in pixels."""
    return round(size * 1.4)
