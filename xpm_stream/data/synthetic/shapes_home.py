"""Silhouettes, parts and textures of household things."""

from __future__ import annotations

import math

from xpm_stream.data.synthetic.palette import NAMED, jittered
from xpm_stream.data.synthetic.pen import Pen, ellipse_points


def draw_umbrella(pen: Pen) -> None:
    """A scalloped canopy with ribs on a hooked stick."""
    p, ribs = pen.palette, pen.count(4, 6)
    pen.stroke([(0, -0.3), (0, 0.38)], 0.045, NAMED["brown"])
    pen.arc((0.08, 0.38), 0.08, (0, 180), 0.045, NAMED["brown"])
    dome = ellipse_points((0, 0.02), (0.48, pen.between(0.42, 0.5)), degrees=(180, 360))
    step = 0.96 / ribs
    scallops = []
    for k in range(ribs):
        middle = (0.48 - (k + 0.5) * step, 0.04)
        scallops += ellipse_points(middle, (step / 2, 0.08), degrees=(0, -180))
    pen.polygon([*dome, *scallops], p.main)
    for k in range(0, ribs, 2):
        left = -0.48 + k * step
        under = ellipse_points((left + step / 2, 0.04), (step / 2, 0.08), degrees=(0, -180))
        pen.polygon([(0, -0.4), *under], p.second)
    pen.stroke([(0, -0.42), (0, -0.5)], 0.03, NAMED["brown"])


def draw_cup(pen: Pen) -> None:
    """A mug with a handle, a rim and a band."""
    p, wide = pen.palette, pen.between(0.26, 0.32)
    pen.arc((wide - 0.04, 0.04), (0.18, 0.2), (-80, 80), 0.08, p.main)
    pen.polygon(
        [(-wide - 0.04, -0.36), (wide - 0.06, -0.36), (wide - 0.1, 0.42), (-wide, 0.42)], p.main, pattern=pen.pattern
    )
    pen.ellipse((-0.05, -0.36), (wide, 0.085), p.dark)
    pen.stroke([(-wide + 0.01, 0.12), (wide - 0.12, 0.12)], 0.07, p.second)


def draw_bottle(pen: Pen) -> None:
    """A body, shoulders, a thin neck, a cap and a label."""
    p, wide = pen.palette, pen.between(0.15, 0.19)
    pen.rectangle((-0.06, -0.5), (0.06, -0.38), p.second)
    outline = [(0.05, -0.38), (0.05, -0.22), (wide, -0.04), (wide, 0.48)]
    pen.polygon([*outline, *[(-x, y) for x, y in reversed(outline)]], p.main)
    pen.rectangle((-wide, 0.1), (wide, 0.34), p.light)
    pen.stroke([(-wide * 0.6, 0.22), (wide * 0.6, 0.22)], 0.04, p.accent)


def draw_lamp(pen: Pen) -> None:
    """A trapezoid shade on a stem with a foot."""
    p, top = pen.palette, pen.between(0.14, 0.22)
    pen.stroke([(0, -0.1), (0, 0.42)], 0.055, p.second)
    pen.ellipse((0, 0.43), (0.22, 0.06), p.second)
    pen.polygon([(-top, -0.48), (top, -0.48), (0.36, -0.04), (-0.36, -0.04)], p.main, pattern=pen.pattern)
    pen.stroke([(0.16, -0.02), (0.16, 0.12)], 0.022, p.dark)


def draw_chair(pen: Pen) -> None:
    """A slatted back, a seat and legs."""
    p, seat = pen.palette, pen.between(0.04, 0.12)
    pen.stroke([(-0.26, -0.46), (-0.26, 0.48)], 0.07, p.main)
    pen.stroke([(0.26, seat), (0.3, 0.48)], 0.07, p.main)
    pen.stroke([(-0.12, seat), (-0.1, 0.42)], 0.05, p.dark)
    for y in (-0.4, -0.26, -0.12):
        pen.stroke([(-0.26, y), (-0.06, y + 0.04)], 0.055, p.main)
    pen.stroke([(-0.06, -0.4), (-0.06, seat)], 0.055, p.main)
    pen.rectangle((-0.3, seat - 0.05), (0.34, seat + 0.06), p.second)


def draw_table(pen: Pen) -> None:
    """A wide top on legs, with a rail."""
    p, legs = pen.palette, pen.between(0.3, 0.4)
    for side in (-1, 1):
        pen.polygon(
            [
                (side * (legs - 0.05), -0.1),
                (side * (legs + 0.05), -0.1),
                (side * (legs + 0.04), 0.4),
                (side * legs, 0.4),
            ],
            p.main,
        )
        pen.stroke([(side * legs * 0.55, -0.1), (side * legs * 0.55, 0.26)], 0.05, p.dark)
    pen.rectangle((-legs, -0.16), (legs, -0.04), p.dark)
    pen.rectangle((-0.5, -0.3), (0.5, -0.15), p.main, pattern=pen.pattern)


def draw_clock(pen: Pen) -> None:
    """A round face with ticks and two hands."""
    p = pen.palette
    pen.ellipse((0, 0), 0.48, p.main)
    pen.ellipse((0, 0), 0.38, NAMED["white"])
    for k in range(12):
        angle = math.pi * k / 6
        pen.ellipse((0.31 * math.cos(angle), 0.31 * math.sin(angle)), 0.028, p.dark)
    for length, width in ((0.17, 0.055), (0.27, 0.04)):
        angle = pen.between(0, 2 * math.pi)
        pen.stroke([(0, 0), (length * math.cos(angle), length * math.sin(angle))], width, NAMED["black"])


def draw_book(pen: Pen) -> None:
    """An open book: two pages of lines over a cover."""
    p = pen.palette
    pen.polygon([(-0.5, -0.26), (0, -0.2), (0.5, -0.26), (0.5, 0.32), (0, 0.36), (-0.5, 0.32)], p.main)
    for side in (-1, 1):
        pen.polygon([(0, -0.24), (side * 0.45, -0.34), (side * 0.45, 0.24), (0, 0.32)], NAMED["cream"])
        for y in (-0.2, -0.08, 0.04, 0.14):
            pen.stroke([(side * 0.08, y + 0.04), (side * 0.37, y - 0.03)], 0.024, NAMED["grey"])
    pen.stroke([(0, -0.24), (0, 0.34)], 0.03, p.dark)


def draw_candle(pen: Pen) -> None:
    """A wax column with a drip, a wick and a flame on a plate."""
    p, wide = pen.palette, pen.between(0.11, 0.15)
    pen.ellipse((0, 0.42), (0.3, 0.075), p.second)
    pen.rectangle((-wide, -0.14), (wide, 0.42), p.main, pattern=pen.pattern)
    pen.ellipse((0, -0.14), (wide, 0.045), p.light)
    pen.stroke([(0, -0.14), (0, -0.22)], 0.025, NAMED["black"])
    pen.blob([(0, -0.5), (0.09, -0.3), (0, -0.19), (-0.09, -0.3)], NAMED["orange"])
    pen.ellipse((0, -0.27), (0.035, 0.06), NAMED["yellow"])


def draw_teapot(pen: Pen) -> None:
    """A round pot with a spout, a handle and a knobbed lid."""
    p = pen.palette
    pen.arc((-0.3, 0.06), (0.17, 0.19), (90, 270), 0.065, p.main)
    pen.polygon([(0.2, 0.14), (0.46, -0.18), (0.5, -0.1), (0.3, 0.26)], p.main)
    pen.ellipse((0, 0.1), (0.33, pen.between(0.26, 0.31)), p.main, pattern=pen.pattern)
    pen.polygon(ellipse_points((0, -0.12), (0.18, 0.12), degrees=(180, 360)), p.second)
    pen.ellipse((0, -0.27), 0.055, p.second)


def draw_vase(pen: Pen) -> None:
    """A curved body with a narrow neck, a wide lip and bands."""
    p, belly = pen.palette, pen.between(0.26, 0.34)
    side = [(0.18, -0.48), (0.09, -0.34), (belly, 0.04), (0.14, 0.44)]
    pen.blob([*side, (0, 0.46), *[(-x, y) for x, y in reversed(side)], (0, -0.46)], p.main, pattern=pen.pattern)
    for y in (-0.08, 0.16):
        pen.stroke([(-belly * 0.86, y), (0, y + 0.05), (belly * 0.86, y)], 0.05, p.second, smooth=True)


def draw_bed(pen: Pen) -> None:
    """A headboard, a mattress with a blanket, a pillow and feet."""
    p = pen.palette
    wood = jittered(NAMED["brown"], pen.rng)
    for x in (-0.46, 0.42):
        pen.rectangle((x, 0.1), (x + 0.05, 0.36), wood)
    pen.rectangle((-0.5, -0.34), (-0.4, 0.3), wood, corner=0.03)
    pen.rectangle((-0.42, 0.0), (0.48, 0.24), NAMED["white"], corner=0.05)
    pen.rectangle((-0.38, -0.12), (-0.16, 0.03), NAMED["cream"], corner=0.06)
    pen.rectangle((-0.1, -0.06), (0.5, 0.2), p.main, corner=0.05, pattern=pen.pattern)


def draw_bucket(pen: Pen) -> None:
    """A tapering pail with a rim and an arched handle."""
    p = pen.palette
    pen.arc((0, -0.18), (0.32, pen.between(0.24, 0.3)), (180, 360), 0.035, NAMED["grey"])
    pen.polygon([(-0.36, -0.18), (0.36, -0.18), (0.25, 0.46), (-0.25, 0.46)], p.main, pattern=pen.pattern)
    pen.ellipse((0, -0.18), (0.36, 0.085), p.dark)
    pen.stroke([(-0.32, 0.08), (0.32, 0.08)], 0.05, p.light)


def draw_basket(pen: Pen) -> None:
    """A woven bowl under a big hoop."""
    p = pen.palette
    pen.arc((0, 0.02), (0.34, 0.46), (180, 360), 0.065, p.dark)
    pen.polygon([(-0.46, 0.0), (0.46, 0.0), (0.32, 0.44), (-0.32, 0.44)], p.main)
    for y in (0.1, 0.22, 0.34):
        pen.stroke([(-0.42 + 0.3 * (y - 0.05), y), (0.42 - 0.3 * (y - 0.05), y)], 0.022, p.dark)
    for k in range(7):
        x = -0.36 + 0.12 * k
        pen.stroke([(x, 0.04), (x * 0.75, 0.42)], 0.022, p.dark)
    pen.stroke([(-0.46, 0.01), (0.46, 0.01)], 0.085, p.main)


def draw_broom(pen: Pen) -> None:
    """A long handle with a flared bundle of bristles."""
    p, wide = pen.palette, pen.between(0.2, 0.28)
    pen.stroke([(0, -0.48), (0, 0.12)], 0.055, p.main)
    straw = jittered(NAMED["gold"], pen.rng)
    pen.polygon([(-0.08, 0.08), (0.08, 0.08), (wide, 0.48), (-wide, 0.48)], straw)
    for t in (-0.6, -0.2, 0.2, 0.6):
        pen.stroke([(t * 0.08, 0.16), (t * wide, 0.47)], 0.02, NAMED["brown"])
    pen.stroke([(-0.1, 0.13), (0.1, 0.13)], 0.06, p.second)


def draw_envelope(pen: Pen) -> None:
    """A rectangle with a folded flap and a seal."""
    p, high = pen.palette, pen.between(0.28, 0.34)
    pen.rectangle((-0.48, -high), (0.48, high), p.light)
    pen.stroke([(-0.46, high - 0.02), (-0.1, 0.0)], 0.028, p.dark)
    pen.stroke([(0.46, high - 0.02), (0.1, 0.0)], 0.028, p.dark)
    pen.polygon([(-0.48, -high), (0.48, -high), (0, 0.1)], p.main)
    pen.ellipse((0, 0.07), 0.075, p.second)
