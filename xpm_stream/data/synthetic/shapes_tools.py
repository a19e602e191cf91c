"""Silhouettes, parts and textures of tools and tableware."""

from __future__ import annotations

import math

from xpm_stream.data.synthetic.palette import NAMED, Colour, jittered
from xpm_stream.data.synthetic.pen import ERASE, Pen


def _metal(pen: Pen) -> Colour:
    return jittered(NAMED["silver"], pen.rng, spread=10.0)


def draw_hammer(pen: Pen) -> None:
    """A handle under a head with a claw."""
    p, metal = pen.palette, _metal(pen)
    pen.rectangle((-0.06, -0.3), (0.06, 0.5), p.main, corner=0.04)
    pen.polygon([(-0.3, -0.46), (0.1, -0.46), (0.44, -0.3), (0.1, -0.24), (-0.3, -0.24)], metal)
    pen.rectangle((-0.38, -0.5), (-0.26, -0.2), metal)


def draw_key(pen: Pen) -> None:
    """A ring bow, a shaft and teeth."""
    p, radius = pen.palette, pen.between(0.17, 0.21)
    pen.stroke([(0, -0.1), (0, 0.46)], 0.09, p.main)
    for y in (0.28, 0.42):
        pen.rectangle((0.0, y - 0.05), (pen.between(0.16, 0.24), y + 0.03), p.main)
    pen.ellipse((0, -0.27), radius, p.main)
    pen.ellipse((0, -0.27), radius * 0.5, ERASE)


def draw_ladder(pen: Pen) -> None:
    """Two rails and many rungs."""
    p, rungs, half = pen.palette, pen.count(4, 6), pen.between(0.15, 0.22)
    for k in range(rungs):
        y = -0.38 + 0.76 * k / (rungs - 1)
        pen.stroke([(-half, y), (half, y)], 0.055, p.second)
    for side in (-1, 1):
        pen.stroke([(side * half * 0.85, -0.47), (side * half * 1.15, 0.47)], 0.075, p.main)


def draw_saw(pen: Pen) -> None:
    """A toothed blade with a looped handle."""
    p = pen.palette
    teeth = [(0.46 - 0.085 * k, 0.13 if k % 2 else 0.04) for k in range(8)]
    pen.polygon([(-0.2, -0.16), (0.5, -0.06), *teeth, (-0.2, 0.14)], _metal(pen))
    pen.rectangle((-0.5, -0.24), (-0.16, 0.22), p.main, corner=0.1)
    pen.rectangle((-0.42, -0.12), (-0.27, 0.1), ERASE, corner=0.05)


def draw_wrench(pen: Pen) -> None:
    """An open jaw and a ring at the ends of a bar."""
    metal = pen.palette.main if pen.chance(0.4) else _metal(pen)
    pen.stroke([(0, -0.24), (0, 0.3)], 0.13, metal)
    pen.ellipse((0, -0.3), 0.2, metal)
    pen.polygon([(-0.08, -0.56), (0.08, -0.56), (0.07, -0.28), (-0.07, -0.28)], ERASE)
    pen.ellipse((0, 0.34), 0.15, metal)
    pen.ellipse((0, 0.34), 0.075, ERASE)


def draw_screwdriver(pen: Pen) -> None:
    """A ribbed grip and a thin shaft with a flat tip."""
    p = pen.palette
    pen.stroke([(0, 0.0), (0, 0.42)], 0.06, _metal(pen))
    pen.polygon([(-0.03, 0.38), (0.03, 0.38), (0.07, 0.5), (-0.07, 0.5)], _metal(pen))
    pen.rectangle((-0.12, -0.5), (0.12, 0.02), p.main, corner=0.1)
    for x in (-0.05, 0.05):
        pen.stroke([(x, -0.4), (x, -0.08)], 0.03, p.dark)


def draw_hatchet(pen: Pen) -> None:
    """A long handle with a flaring blade on one side."""
    p = pen.palette
    pen.stroke([(0.0, -0.44), (0.04, 0.0), (0.0, 0.48)], 0.085, jittered(NAMED["brown"], pen.rng), smooth=True)
    pen.blob(
        [(0.04, -0.36), (-0.2, -0.36), (-0.4, -0.48), (-0.44, -0.22), (-0.38, 0.02), (-0.2, -0.12), (0.04, -0.16)],
        p.main,
    )
    pen.stroke([(-0.4, -0.46), (-0.45, -0.22), (-0.38, 0.0)], 0.045, NAMED["silver"], smooth=True)


def draw_shovel(pen: Pen) -> None:
    """A pointed blade, a shaft and a D-shaped grip."""
    p = pen.palette
    pen.stroke([(0, -0.34), (0, 0.14)], 0.065, jittered(NAMED["brown"], pen.rng))
    pen.polygon([(-0.14, -0.5), (0.14, -0.5), (0.08, -0.32), (-0.08, -0.32)], p.second)
    pen.polygon([(-0.07, -0.45), (0.07, -0.45), (0.04, -0.37), (-0.04, -0.37)], ERASE)
    pen.blob([(-0.2, 0.08), (0.2, 0.08), (0.18, 0.34), (0, 0.5), (-0.18, 0.34)], p.main)


def draw_magnet(pen: Pen) -> None:
    """A horseshoe with pale poles."""
    p, thick = pen.palette, pen.between(0.17, 0.21)
    path = [(-0.28, -0.4), (-0.28, 0.06)]
    path += [(-0.28 * math.cos(a), 0.08 + 0.28 * math.sin(a)) for a in (0.4, 0.8, 1.2, 1.57, 1.95, 2.35, 2.75)]
    path += [(0.28, 0.06), (0.28, -0.4)]
    pen.stroke(path, thick, p.main)
    for side in (-1, 1):
        x = side * 0.28
        pen.rectangle((x - thick / 2, -0.5), (x + thick / 2, -0.3), NAMED["white"])


def draw_anchor(pen: Pen) -> None:
    """A ring, a stock, a shank and two flukes."""
    p = pen.palette
    pen.arc((0, -0.38), 0.085, (0, 360), 0.05, p.main)
    pen.stroke([(0, -0.3), (0, 0.42)], 0.085, p.main)
    pen.stroke([(-0.22, -0.18), (0.22, -0.18)], 0.075, p.main)
    pen.arc((0, 0.04), (0.38, 0.38), (10, 170), 0.085, p.main)
    for side in (-1, 1):
        pen.polygon([(side * 0.46, 0.14), (side * 0.44, -0.1), (side * 0.26, 0.1)], p.main)


def draw_bell(pen: Pen) -> None:
    """A flared cup with a clapper, a band and a loop."""
    p, wide = pen.palette, pen.between(0.36, 0.44)
    pen.arc((0, -0.4), 0.07, (0, 360), 0.04, p.dark)
    pen.ellipse((0, 0.4), 0.09, p.dark)
    side = [(0.12, -0.36), (0.24, -0.16), (0.27, 0.14), (wide, 0.36)]
    pen.blob([*[(-x, y) for x, y in reversed(side)], *side], p.main)
    pen.stroke([(-0.25, 0.14), (0.25, 0.14)], 0.05, p.second)


def draw_comb(pen: Pen) -> None:
    """A bar with a row of teeth."""
    p, teeth = pen.palette, pen.count(7, 10)
    for k in range(teeth):
        x = -0.42 + 0.84 * k / (teeth - 1)
        pen.rectangle((x - 0.026, -0.1), (x + 0.026, 0.26), p.main)
    pen.rectangle((-0.48, -0.26), (0.48, -0.06), p.main, corner=0.07)
    pen.stroke([(-0.36, -0.16), (0.36, -0.16)], 0.035, p.second)


def draw_fork(pen: Pen) -> None:
    """Tines on a neck with a handle."""
    p = pen.palette
    metal = _metal(pen) if pen.chance(0.5) else p.main
    for x in (-0.12, -0.04, 0.04, 0.12):
        pen.stroke([(x, -0.46), (x, -0.18)], 0.045, metal)
    pen.blob([(-0.15, -0.22), (0.15, -0.22), (0.1, -0.04), (0, 0.02), (-0.1, -0.04)], metal)
    pen.stroke([(0, -0.02), (0, 0.2)], 0.055, metal)
    pen.stroke([(0, 0.16), (0, 0.46)], 0.09, p.second if pen.chance(0.5) else metal)


def draw_spoon(pen: Pen) -> None:
    """An oval bowl on a slim handle."""
    p = pen.palette
    metal = _metal(pen) if pen.chance(0.5) else p.main
    pen.stroke([(0, -0.1), (0, 0.46)], 0.07, metal)
    pen.ellipse((0, -0.28), (pen.between(0.15, 0.19), 0.22), metal)
    pen.ellipse((0, -0.27), (0.09, 0.14), p.dark)


def draw_knife(pen: Pen) -> None:
    """A curved blade and a riveted handle."""
    p = pen.palette
    pen.blob([(-0.06, 0.12), (-0.09, -0.3), (-0.06, -0.48), (0.06, -0.34), (0.11, -0.1), (0.09, 0.12)], _metal(pen))
    pen.rectangle((-0.07, 0.1), (0.07, 0.5), p.main, corner=0.04)
    for y in (0.2, 0.38):
        pen.ellipse((0, y), 0.028, NAMED["white"])


def draw_brush(pen: Pen) -> None:
    """A paint brush: bristles with paint, a ferrule and a tapering handle."""
    p = pen.palette
    pen.blob([(-0.13, -0.2), (-0.12, -0.38), (0.02, -0.5), (0.13, -0.36), (0.13, -0.2)], p.second)
    pen.rectangle((-0.14, -0.24), (0.14, -0.08), _metal(pen))
    pen.polygon([(-0.12, -0.08), (0.12, -0.08), (0.05, 0.2), (0.06, 0.5), (-0.06, 0.5), (-0.05, 0.2)], p.main)
