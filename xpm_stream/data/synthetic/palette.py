"""Colours of objects and scenes."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import Final

import numpy as np

Colour = tuple[int, int, int]  # RGB, 0..255

NAMED: Final[dict[str, Colour]] = {
    "red": (205, 45, 45),
    "orange": (236, 130, 40),
    "yellow": (240, 205, 60),
    "green": (70, 150, 65),
    "lime": (150, 190, 70),
    "teal": (50, 150, 150),
    "blue": (60, 105, 200),
    "sky": (120, 180, 225),
    "purple": (130, 75, 170),
    "pink": (235, 140, 175),
    "brown": (135, 85, 50),
    "tan": (205, 165, 115),
    "cream": (240, 222, 180),
    "white": (236, 236, 232),
    "silver": (175, 182, 190),
    "grey": (125, 128, 132),
    "black": (48, 48, 54),
    "gold": (215, 170, 60),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Palette:
    """The colours of one object."""

    main: Colour
    second: Colour  # parts and patterns; differs clearly from the main colour
    accent: Colour
    dark: Colour  # a darker main colour
    light: Colour  # a lighter main colour
    outline: Colour


def mix(first: Colour, other: Colour, share: float) -> Colour:
    """`share` of the other colour in the first, 0..1."""
    r, g, b = (round(a + (c - a) * share) for a, c in zip(first, other, strict=True))
    return (r, g, b)


def any_colour(rng: np.random.Generator) -> Colour:
    """A random colour with enough saturation and brightness to stand out."""
    hue, saturation, value = rng.random(3)
    red, green, blue = colorsys.hsv_to_rgb(float(hue), 0.25 + 0.65 * float(saturation), 0.4 + 0.55 * float(value))
    return (round(red * 255), round(green * 255), round(blue * 255))


def jittered(colour: Colour, rng: np.random.Generator, *, spread: float = 14.0) -> Colour:
    """A colour close to this one; `spread` is the standard deviation of each channel."""
    red, green, blue = (int(np.clip(c + d, 0, 255)) for c, d in zip(colour, rng.normal(0.0, spread, 3), strict=True))
    return (red, green, blue)


def draw_palette(typical: tuple[str, ...], *, typical_rate: float, rng: np.random.Generator) -> Palette:
    """Colours for one object: one of its class's typical colours at that rate, otherwise any."""
    if typical and rng.random() < typical_rate:
        main = jittered(NAMED[typical[int(rng.integers(len(typical)))]], rng)
    else:
        main = any_colour(rng)
    second = any_colour(rng)
    for _ in range(4):
        if sum(abs(a - b) for a, b in zip(main, second, strict=True)) > 150:
            break
        second = any_colour(rng)
    return Palette(
        main=main,
        second=second,
        accent=any_colour(rng),
        dark=mix(main, (0, 0, 0), 0.5),
        light=mix(main, (255, 255, 255), 0.55),
        outline=mix(main, (0, 0, 0), 0.75),
    )
