"""Silhouettes, parts and textures of things that travel."""

from __future__ import annotations

from xpm_stream.data.synthetic.palette import NAMED, Colour, jittered
from xpm_stream.data.synthetic.pen import Pen, ellipse_points

_GLASS: Colour = (190, 220, 235)
_TYRE: Colour = (42, 42, 46)


def _wheel(pen: Pen, centre: tuple[float, float], radius: float) -> None:
    pen.ellipse(centre, radius, _TYRE)
    pen.ellipse(centre, radius * 0.45, NAMED["silver"])


def draw_car(pen: Pen) -> None:
    """A low body with a cabin and two wheels."""
    p, roof = pen.palette, pen.between(-0.24, -0.18)
    pen.polygon([(-0.26, -0.02), (-0.16, roof), (0.14, roof), (0.28, -0.02)], p.main)
    pen.polygon([(-0.2, -0.02), (-0.13, roof + 0.05), (-0.02, roof + 0.05), (-0.02, -0.02)], _GLASS)
    pen.polygon([(0.03, -0.02), (0.03, roof + 0.05), (0.12, roof + 0.05), (0.21, -0.02)], _GLASS)
    pen.rectangle((-0.48, -0.03), (0.48, 0.18), p.main, corner=0.08)
    pen.ellipse((0.44, 0.05), 0.035, NAMED["yellow"])
    for x in (-0.27, 0.27):
        _wheel(pen, (x, 0.18), pen.between(0.1, 0.12))


def draw_bus(pen: Pen) -> None:
    """A tall box with a row of windows, a stripe and two wheels."""
    p, windows = pen.palette, pen.count(3, 5)
    pen.rectangle((-0.48, -0.3), (0.48, 0.22), p.main, corner=0.06)
    step = 0.84 / windows
    for k in range(windows):
        left = -0.42 + k * step
        pen.rectangle((left, -0.22), (left + step * 0.75, -0.04), _GLASS)
    pen.rectangle((-0.48, 0.05), (0.48, 0.11), p.second)
    for x in (-0.28, 0.28):
        _wheel(pen, (x, 0.23), 0.1)


def draw_truck(pen: Pen) -> None:
    """A cab before a tall cargo box, on three wheels."""
    p = pen.palette
    pen.rectangle((-0.5, -0.34), (0.16, 0.2), p.second, pattern=pen.pattern)
    pen.polygon([(0.2, -0.14), (0.38, -0.14), (0.5, 0.04), (0.5, 0.2), (0.2, 0.2)], p.main)
    pen.polygon([(0.26, -0.08), (0.36, -0.08), (0.43, 0.04), (0.26, 0.04)], _GLASS)
    pen.rectangle((-0.5, 0.17), (0.5, 0.23), p.dark)
    for x in (-0.36, -0.12, 0.34):
        _wheel(pen, (x, 0.25), 0.1)


def draw_train(pen: Pen) -> None:
    """A steam engine: boiler, chimney, cab, many wheels."""
    p = pen.palette
    pen.rectangle((0.24, -0.34), (0.36, -0.06), p.dark)
    pen.rectangle((0.2, -0.4), (0.4, -0.32), p.second)
    pen.rectangle((-0.2, -0.12), (0.46, 0.16), p.main, corner=0.1)
    pen.rectangle((-0.44, -0.32), (-0.12, 0.16), p.second)
    pen.rectangle((-0.36, -0.24), (-0.2, -0.06), _GLASS)
    pen.rectangle((-0.5, -0.38), (-0.06, -0.3), p.main)
    pen.polygon([(0.4, 0.16), (0.5, 0.32), (0.3, 0.32)], p.dark)
    for x in (-0.34, -0.1, 0.1, 0.28):
        _wheel(pen, (x, 0.22), 0.1)


def draw_boat(pen: Pen) -> None:
    """A hull with a mast and two sails."""
    p = pen.palette
    pen.stroke([(0.0, -0.48), (0.0, 0.2)], 0.04, NAMED["brown"])
    pen.polygon([(0.03, -0.46), (pen.between(0.32, 0.42), 0.1), (0.03, 0.1)], p.second)
    pen.polygon([(-0.04, -0.36), (-0.04, 0.1), (pen.between(-0.36, -0.28), 0.1)], p.light)
    pen.polygon([(-0.48, 0.17), (0.48, 0.17), (0.3, 0.42), (-0.32, 0.42)], p.main)
    pen.stroke([(-0.42, 0.24), (0.42, 0.24)], 0.03, p.light)


def draw_airplane(pen: Pen) -> None:
    """Seen from above: a fuselage, swept wings and a tail."""
    p, sweep = pen.palette, pen.between(0.1, 0.22)
    pen.polygon(
        [(0.0, -0.12), (0.48, sweep), (0.48, sweep + 0.1), (0.0, 0.12), (-0.48, sweep + 0.1), (-0.48, sweep)], p.second
    )
    pen.polygon([(0.0, 0.28), (0.2, 0.42), (0.2, 0.48), (0.0, 0.42), (-0.2, 0.48), (-0.2, 0.42)], p.second)
    pen.ellipse((0.0, 0.0), (0.085, 0.48), p.main)
    pen.ellipse((0.0, -0.34), (0.05, 0.07), _GLASS)


def draw_bicycle(pen: Pen) -> None:
    """Two thin wheels, a frame, a saddle and handlebars."""
    p, radius = pen.palette, pen.between(0.2, 0.23)
    for x in (-0.27, 0.27):
        pen.arc((x, 0.16), radius, (0, 360), 0.045, _TYRE)
        pen.ellipse((x, 0.16), 0.035, NAMED["silver"])
    frame = [(-0.27, 0.16), (-0.1, -0.12), (0.2, -0.12), (0.0, 0.16), (-0.27, 0.16)]
    pen.stroke(frame, 0.05, p.main)
    pen.stroke([(-0.13, -0.2), (0.0, 0.16)], 0.05, p.main)
    pen.stroke([(0.27, 0.16), (0.18, -0.26), (0.3, -0.3)], 0.045, p.main)
    pen.stroke([(-0.22, -0.22), (-0.06, -0.22)], 0.06, _TYRE)


def draw_rocket(pen: Pen) -> None:
    """A pointed tube with fins, a porthole and a flame."""
    p, wide = pen.palette, pen.between(0.14, 0.18)
    pen.blob([(-0.08, 0.3), (0.08, 0.3), (0.0, 0.52)], NAMED["orange"])
    for side in (-1, 1):
        pen.polygon([(side * wide * 0.7, 0.06), (side * 0.32, 0.34), (side * wide * 0.6, 0.3)], p.second)
    pen.blob(
        [
            (0, -0.5),
            (wide * 0.8, -0.25),
            (wide, 0.05),
            (wide * 0.6, 0.32),
            (-wide * 0.6, 0.32),
            (-wide, 0.05),
            (-wide * 0.8, -0.25),
        ],
        p.main,
    )
    pen.ellipse((0, -0.12), 0.085, p.second)
    pen.ellipse((0, -0.12), 0.055, _GLASS)
    pen.stroke([(-wide * 0.8, 0.18), (wide * 0.8, 0.18)], 0.045, p.second)


def draw_helicopter(pen: Pen) -> None:
    """A bubble with a tail boom, a rotor and skids."""
    p = pen.palette
    pen.polygon([(0.0, -0.1), (-0.48, -0.06), (-0.48, -0.01), (0.0, 0.12)], p.main)
    pen.ellipse((-0.46, -0.06), (0.03, 0.13), p.dark)
    pen.ellipse((0.14, 0.02), (0.28, 0.19), p.main)
    pen.polygon(ellipse_points((0.18, 0.02), (0.2, 0.14), degrees=(-90, 90)), _GLASS)
    pen.stroke([(0.1, -0.16), (0.1, -0.28)], 0.04, p.dark)
    pen.stroke([(-0.36, -0.29), (0.5, -0.27)], 0.045, p.dark)
    pen.stroke([(-0.08, 0.32), (0.36, 0.32)], 0.04, p.dark)
    for x in (0.04, 0.24):
        pen.stroke([(x, 0.18), (x, 0.31)], 0.03, p.dark)


def draw_tractor(pen: Pen) -> None:
    """A big hind wheel, a small front wheel, a cab and a hood."""
    p = pen.palette
    pen.rectangle((-0.05, -0.08), (0.42, 0.16), p.main, corner=0.03)
    pen.stroke([(0.28, -0.08), (0.28, -0.28)], 0.05, p.dark)
    pen.rectangle((-0.36, -0.4), (0.02, 0.12), p.main)
    pen.rectangle((-0.29, -0.33), (-0.04, -0.08), _GLASS)
    _wheel(pen, (-0.22, 0.18), pen.between(0.22, 0.26))
    _wheel(pen, (0.32, 0.28), pen.between(0.12, 0.15))


def draw_balloon(pen: Pen) -> None:
    """A party balloon: a drop with a knot and a curling string."""
    p = pen.palette
    pen.stroke([(0, 0.2), (0.06, 0.3), (-0.05, 0.4), (0.02, 0.5)], 0.028, jittered(NAMED["grey"], pen.rng), smooth=True)
    pen.blob(
        [(0, -0.5), (0.25, -0.4), (0.31, -0.14), (0.16, 0.1), (0, 0.19), (-0.16, 0.1), (-0.31, -0.14), (-0.25, -0.4)],
        p.main,
        pattern=pen.pattern,
    )
    pen.polygon([(0, 0.16), (0.06, 0.25), (-0.06, 0.25)], p.dark)
    pen.ellipse((-0.13, -0.28), (0.05, 0.09), p.light, angle_deg=25)


def draw_kite(pen: Pen) -> None:
    """A diamond with a cross and a tail of bows."""
    p, middle = pen.palette, pen.between(-0.24, -0.14)
    pen.stroke([(0, 0.16), (0.1, 0.26), (-0.04, 0.36), (0.08, 0.48)], 0.03, p.dark, smooth=True)
    pen.polygon([(0, -0.5), (0.3, middle), (0, 0.2), (-0.3, middle)], p.main)
    pen.polygon([(0, -0.5), (0.3, middle), (0, middle)], p.second)
    pen.polygon([(0, 0.2), (-0.3, middle), (0, middle)], p.second)
    for x, y in ((0.09, 0.27), (-0.03, 0.38)):
        pen.polygon([(x - 0.08, y - 0.04), (x + 0.08, y + 0.04), (x + 0.08, y - 0.04), (x - 0.08, y + 0.04)], p.accent)
