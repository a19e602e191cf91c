"""What is behind the objects: washes of colour, floors, planks, tiles, and clutter that is no object."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from xpm_stream.data.synthetic.palette import Colour, any_colour, mix
from xpm_stream.data.synthetic.pen import ellipse_points, smooth_curve

_REDUCTION: Final = 2  # drawn this much larger, so that lines and edges are smooth
_PAPER: Final[Colour] = (240, 237, 228)


def draw_background(
    size_wh: tuple[int, int], *, rng: np.random.Generator, distractors: int, style: str
) -> npt.NDArray[np.uint8]:
    """A background of that size: (H, W, 3) uint8."""
    large = (size_wh[0] * _REDUCTION, size_wh[1] * _REDUCTION)
    if style == "sketch":
        image = _wash(large, _PAPER, rng=rng, spread=3.0)
    else:
        image = _wash(large, _muted(rng), rng=rng, spread=float(rng.uniform(6.0, 26.0)))
        if rng.random() < 0.4:
            _lay_floor(image, rng=rng)
        if rng.random() < 0.5:
            _rule_lines(image, rng=rng)
    for _ in range(distractors):
        _scatter(image, rng=rng, strength=0.25 if style == "sketch" else float(rng.uniform(0.2, 0.6)))
    pixels = np.asarray(image.reduce(_REDUCTION))
    if style == "sketch":
        return pixels.copy()
    coarse = float(rng.uniform(2.0, 7.0))
    grain = rng.integers(-round(coarse), round(coarse) + 1, (*pixels.shape[:2], 1), dtype=np.int16)
    return np.clip(pixels + grain, 0, 255).astype(np.uint8, copy=False)


def _muted(rng: np.random.Generator) -> Colour:
    grey = int(rng.integers(60, 225))
    return mix(any_colour(rng), (grey, grey, grey), float(rng.uniform(0.45, 0.85)))


def _wash(size_wh: tuple[int, int], colour: Colour, *, rng: np.random.Generator, spread: float) -> Image.Image:
    cells = int(rng.integers(2, 7))
    # Light and shade vary more than hue does on a wall or a field.
    shade, tint = rng.normal(0.0, spread, (cells, cells, 1)), rng.normal(0.0, 0.25 * spread, (cells, cells, 3))
    grid = np.clip(np.asarray(colour) + shade + tint, 0, 255).astype(np.uint8)
    half = (-(-size_wh[0] // 2), -(-size_wh[1] // 2))
    return Image.fromarray(grid).resize(half, Image.Resampling.BICUBIC).resize(size_wh, Image.Resampling.NEAREST)


def _lay_floor(image: Image.Image, *, rng: np.random.Generator) -> None:
    width, height = image.size
    horizon = int(height * rng.uniform(0.35, 0.75))
    floor = _wash((width, height - horizon), _muted(rng), rng=rng, spread=float(rng.uniform(5.0, 20.0)))
    image.paste(floor, (0, horizon))


def _rule_lines(image: Image.Image, *, rng: np.random.Generator) -> None:
    """Planks, tiles or stripes: parallel lines in a shade of what they cross."""
    width, height = image.size
    pen = ImageDraw.Draw(image)
    pixel = image.getpixel((int(rng.integers(width)), int(rng.integers(height))))
    assert isinstance(pixel, tuple), "an RGB image has tuples for pixels"
    shade = mix(
        (pixel[0], pixel[1], pixel[2]),
        (0, 0, 0) if rng.random() < 0.6 else (255, 255, 255),
        float(rng.uniform(0.08, 0.3)),
    )
    pitch, line_width = height * float(rng.uniform(0.08, 0.25)), int(rng.integers(2, 6))
    turn = float(rng.uniform(-0.3, 0.3)) + (math.pi / 2 if rng.random() < 0.5 else 0.0)
    reach = math.hypot(width, height)
    for turned in (turn, turn + math.pi / 2)[: 2 if rng.random() < 0.4 else 1]:
        cosine, sine = math.cos(turned), math.sin(turned)
        for step in range(-int(reach / pitch / 2), int(reach / pitch / 2) + 1):
            x, y = width / 2 - sine * step * pitch, height / 2 + cosine * step * pitch
            ends = (x - cosine * reach, y - sine * reach, x + cosine * reach, y + sine * reach)
            pen.line(ends, fill=shade, width=line_width)


def _scatter(image: Image.Image, *, rng: np.random.Generator, strength: float) -> None:
    """One piece of clutter: a lump, a bar, a squiggle or a splash of dots."""
    width, height = image.size
    pen = ImageDraw.Draw(image)
    pixel = image.getpixel((width // 2, height // 2))
    assert isinstance(pixel, tuple), "an RGB image has tuples for pixels"
    colour = mix((pixel[0], pixel[1], pixel[2]), any_colour(rng), strength)
    x, y = float(rng.uniform(0, width)), float(rng.uniform(0, height))
    size = min(width, height) * float(rng.uniform(0.06, 0.22))
    kind = rng.random()
    if kind < 0.4:
        corners = [
            (x + size * math.cos(a) * r, y + size * math.sin(a) * r)
            for a, r in zip(np.arange(6) * math.pi / 3, rng.uniform(0.5, 1.0, 6), strict=True)
        ]
        pen.polygon(smooth_curve(corners, closed=True), fill=colour)
    elif kind < 0.65:
        turn = float(rng.uniform(0, 180))
        pen.polygon(
            ellipse_points((x, y), (size * 1.4, size * 0.25), angle_deg=turn, degrees=(45, 405))[::4], fill=colour
        )
    elif kind < 0.85:
        walk = np.cumsum(rng.normal(0.0, size * 0.6, (5, 2)), axis=0) + np.array([x, y])
        path = smooth_curve([(float(a), float(b)) for a, b in walk], closed=False)
        pen.line(path, fill=colour, width=int(rng.integers(4, 9)), joint="curve")
    else:
        for a, b in rng.normal(0.0, size, (8, 2)):
            radius = size * float(rng.uniform(0.08, 0.2))
            pen.ellipse((x + a - radius, y + b - radius, x + a + radius, y + b + radius), fill=colour)
