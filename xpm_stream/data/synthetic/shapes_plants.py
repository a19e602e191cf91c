"""Silhouettes, parts and textures of plants."""

from __future__ import annotations

import math

from xpm_stream.data.synthetic.palette import NAMED, jittered
from xpm_stream.data.synthetic.pen import Pen


def draw_tree(pen: Pen) -> None:
    """A trunk under a leafy crown, round or in conifer tiers."""
    p, trunk = pen.palette, jittered(NAMED["brown"], pen.rng)
    pen.polygon([(-0.06, 0.0), (0.06, 0.0), (0.09, 0.5), (-0.09, 0.5)], trunk)
    for x, y, radius in ((-0.2, -0.05, 0.2), (0.2, -0.05, 0.2), (0.0, -0.25, 0.24), (0.0, 0.0, 0.2)):
        pen.ellipse((x, y), radius * pen.between(0.9, 1.1), p.main)
    for x, y in ((-0.2, -0.1), (0.12, -0.28), (0.2, 0.02), (-0.05, -0.02)):
        pen.ellipse((x, y), 0.05, p.dark if pen.chance(0.5) else p.light)


def draw_flower(pen: Pen) -> None:
    """Petals round a disc on a stem with leaves."""
    p, petals = pen.palette, pen.count(5, 8)
    green = jittered(NAMED["green"], pen.rng)
    pen.stroke([(0, -0.1), (pen.between(-0.05, 0.05), 0.5)], 0.05, green)
    pen.ellipse((0.12, 0.3), (0.13, 0.05), green, angle_deg=-35)
    pen.ellipse((-0.12, 0.36), (0.13, 0.05), green, angle_deg=35)
    for k in range(petals):
        angle = 2 * math.pi * k / petals
        centre = (0.19 * math.cos(angle), -0.18 + 0.19 * math.sin(angle))
        pen.ellipse(centre, (0.14, 0.45 / petals), p.main, angle_deg=math.degrees(angle))
    pen.ellipse((0, -0.18), 0.1, p.second)


def draw_leaf(pen: Pen) -> None:
    """A pointed blade with a midrib and veins."""
    p, wide = pen.palette, pen.between(0.2, 0.29)
    pen.stroke([(0, 0.3), (0.03, 0.5)], 0.04, p.dark)
    pen.blob([(0, -0.5), (wide * 0.7, -0.22), (wide, 0.08), (0, 0.38), (-wide, 0.08), (-wide * 0.7, -0.22)], p.main)
    pen.stroke([(0, -0.42), (0, 0.36)], 0.026, p.dark)
    for y in (-0.2, -0.04, 0.12):
        for side in (-1, 1):
            pen.stroke([(0, y + 0.1), (side * wide * 0.72, y - 0.03)], 0.02, p.dark)


def draw_cactus(pen: Pen) -> None:
    """A column with raised arms and spines, often in a pot."""
    p, wide = pen.palette, pen.between(0.16, 0.2)
    left, right = pen.between(0.0, 0.12), pen.between(-0.1, 0.06)
    pen.stroke([(0, left), (-0.32, left), (-0.32, left - 0.24)], 0.13, p.main)
    pen.stroke([(0, right), (0.32, right), (0.32, right - 0.22)], 0.13, p.main)
    pen.stroke([(0, -0.36), (0, 0.44)], wide * 1.5, p.main)
    for y in (-0.32, -0.18, -0.04, 0.1, 0.24):
        for x in (-0.05, 0.06):
            pen.stroke([(x, y), (x, y + 0.05)], 0.02, p.light)
    pen.polygon([(-0.22, 0.28), (0.22, 0.28), (0.16, 0.5), (-0.16, 0.5)], p.second)


def draw_palm(pen: Pen) -> None:
    """A slim bent trunk with drooping fronds."""
    p, lean = pen.palette, pen.between(-0.12, 0.12)
    top = (lean, -0.2)
    pen.stroke([(0, 0.5), (lean * 0.2, 0.15), top], 0.08, jittered(NAMED["brown"], pen.rng), smooth=True)
    for x, y in ((-0.42, 0.0), (-0.38, -0.28), (-0.12, -0.44), (0.18, -0.44), (0.4, -0.26), (0.42, 0.02)):
        middle = (lean + x * 0.55, -0.28 + y * 0.35)
        pen.blob([top, (middle[0], middle[1] - 0.05), (lean + x, y), (middle[0], middle[1] + 0.07)], p.main)


def draw_tulip(pen: Pen) -> None:
    """A cup of three points on a stem with long leaves."""
    p, green = pen.palette, jittered(NAMED["green"], pen.rng)
    pen.stroke([(0, 0.0), (0, 0.5)], 0.05, green)
    for side in (-1, 1):
        pen.blob([(0, 0.48), (side * 0.12, 0.2), (side * 0.26, 0.02), (side * 0.2, 0.3)], green)
    pen.polygon(
        [
            (-0.22, -0.46),
            (-0.1, -0.3),
            (0, -0.5),
            (0.1, -0.3),
            (0.22, -0.46),
            (0.22, -0.1),
            (0.1, 0.06),
            (-0.1, 0.06),
            (-0.22, -0.1),
        ],
        p.main,
    )
    pen.stroke([(0, -0.3), (0, 0.0)], 0.025, p.dark)
