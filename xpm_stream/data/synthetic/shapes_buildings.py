"""Silhouettes, parts and textures of buildings."""

from __future__ import annotations

import math

from xpm_stream.data.synthetic.palette import NAMED, Colour, jittered
from xpm_stream.data.synthetic.pen import Pen

_WINDOW: Colour = (250, 225, 140)


def draw_house(pen: Pen) -> None:
    """Walls, a gable roof, a door, windows and a chimney."""
    p, eaves = pen.palette, pen.between(-0.12, 0.0)
    pen.rectangle((0.2, -0.42), (0.3, eaves), p.dark)
    pen.rectangle((-0.38, eaves), (0.38, 0.46), p.main)
    pen.polygon([(-0.48, eaves), (0, -0.48), (0.48, eaves)], p.second)
    pen.rectangle((-0.08, 0.14), (0.08, 0.46), p.dark)
    for side in (-1, 1):
        pen.rectangle((side * 0.24 - 0.08, 0.08), (side * 0.24 + 0.08, 0.24), _WINDOW)


def draw_castle(pen: Pen) -> None:
    """A wall with an arched gate between two battlemented towers."""
    p = pen.palette
    pen.rectangle((-0.3, -0.06), (0.3, 0.46), p.main)
    for x in (-0.2, 0.0, 0.2):
        pen.rectangle((x - 0.06, -0.14), (x + 0.06, -0.04), p.main)
    for side in (-1, 1):
        pen.rectangle((side * 0.36 - 0.13, -0.3), (side * 0.36 + 0.13, 0.46), p.main)
        for x in (-0.1, 0.0, 0.1):
            pen.rectangle((side * 0.36 + x - 0.035, -0.4), (side * 0.36 + x + 0.035, -0.28), p.main)
        pen.rectangle((side * 0.36 - 0.03, -0.16), (side * 0.36 + 0.03, 0.0), NAMED["black"])
    pen.ellipse((0, 0.22), 0.12, p.dark)
    pen.rectangle((-0.12, 0.22), (0.12, 0.46), p.dark)
    pen.stroke([(-0.36, -0.38), (-0.36, -0.5), (-0.24, -0.46)], 0.03, p.second)


def draw_windmill(pen: Pen) -> None:
    """A tapering tower with four sails."""
    p, turn = pen.palette, pen.between(0.2, 1.3)
    pen.polygon([(-0.12, -0.16), (0.12, -0.16), (0.2, 0.5), (-0.2, 0.5)], p.main)
    pen.polygon([(-0.14, -0.14), (0.14, -0.14), (0, -0.32)], p.dark)
    pen.rectangle((-0.05, 0.34), (0.05, 0.5), p.dark)
    for k in range(4):
        angle = turn + k * math.pi / 2
        cosine, sine = math.cos(angle), math.sin(angle)
        corners = [(0.08, -0.02), (0.4, -0.02), (0.4, 0.1), (0.08, 0.1)]
        pen.polygon([(x * cosine - y * sine, -0.12 + x * sine + y * cosine) for x, y in corners], p.second)
    pen.ellipse((0, -0.12), 0.045, p.dark)


def draw_lighthouse(pen: Pen) -> None:
    """A banded tower with a lamp room and a cap."""
    p, base = pen.palette, pen.between(0.17, 0.22)
    pen.polygon([(-0.1, -0.22), (0.1, -0.22), (base, 0.5), (-base, 0.5)], NAMED["white"])
    for low, high in ((-0.1, 0.06), (0.22, 0.38)):
        left, right = 0.1 + (base - 0.1) * (low + 0.22) / 0.72, 0.1 + (base - 0.1) * (high + 0.22) / 0.72
        pen.polygon([(-left, low), (left, low), (right, high), (-right, high)], p.main)
    pen.rectangle((-0.08, -0.38), (0.08, -0.24), _WINDOW)
    pen.rectangle((-0.16, -0.26), (0.16, -0.2), p.dark)
    pen.polygon([(-0.13, -0.36), (0.13, -0.36), (0, -0.5)], p.main)


def draw_tent(pen: Pen) -> None:
    """A ridge tent with an open flap and guy lines."""
    p = pen.palette
    for side in (-1, 1):
        pen.stroke([(side * 0.2, 0.0), (side * 0.5, 0.4)], 0.022, NAMED["grey"])
    pen.polygon([(0, -0.38), (0.44, 0.4), (-0.44, 0.4)], p.main, pattern=pen.pattern)
    pen.polygon([(0, -0.2), (0.14, 0.4), (-0.14, 0.4)], p.dark)
    pen.polygon([(0, -0.2), (-0.14, 0.4), (-0.2, 0.1)], p.light)
    pen.stroke([(0, -0.38), (0, -0.48)], 0.03, NAMED["brown"])


def draw_bridge(pen: Pen) -> None:
    """Two towers, a deck, and hanging cables."""
    p = pen.palette
    cable = jittered(NAMED["grey"], pen.rng)
    for k in range(-3, 4):
        x = k * 0.07
        pen.stroke([(x, 0.12), (x, 0.1 - 6.0 * x * x)], 0.018, cable)
    pen.arc((0, -0.34), (0.28, 0.42), (0, 180), 0.035, cable)
    for side in (-1, 1):
        pen.stroke([(side * 0.28, -0.34), (side * 0.5, 0.1)], 0.035, cable)
        pen.rectangle((side * 0.28 - 0.045, -0.4), (side * 0.28 + 0.045, 0.42), p.main)
    pen.rectangle((-0.5, 0.08), (0.5, 0.2), p.second)
