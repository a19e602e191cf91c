"""Silhouettes, parts and textures of food."""

from __future__ import annotations

import math

from xpm_stream.data.synthetic.palette import NAMED, jittered, mix
from xpm_stream.data.synthetic.pen import ERASE, Pen, ellipse_points


def draw_apple(pen: Pen) -> None:
    """A round body with a dip at the top, a stem and a leaf."""
    p, wide = pen.palette, pen.between(0.36, 0.43)
    pen.stroke([(0.0, -0.2), (pen.between(-0.04, 0.08), -0.42)], 0.05, NAMED["brown"])
    body = [(0, -0.22), (0.2, -0.32), (wide, -0.1), (0.3, 0.3), (0.12, 0.42), (0, 0.38)]
    pen.blob(body + [(-x, y) for x, y in body[4:0:-1]], p.main, pattern=pen.pattern)
    pen.ellipse((0.17, -0.36), (0.14, 0.06), jittered(NAMED["green"], pen.rng), angle_deg=-25)
    pen.ellipse((-0.18, -0.1), (0.06, 0.1), p.light, angle_deg=20)


def draw_pear(pen: Pen) -> None:
    """A narrow neck on a wide belly, with a stem."""
    p, wide, neck = pen.palette, pen.between(0.28, 0.36), pen.between(0.1, 0.14)
    pen.stroke([(0.0, -0.3), (0.06, -0.5)], 0.05, NAMED["brown"])
    side = [(neck, -0.34), (neck + 0.04, -0.12), (wide, 0.18), (0.2, 0.43)]
    pen.blob([(0, -0.4), *side, (0, 0.46), *[(-x, y) for x, y in reversed(side)]], p.main, pattern=pen.pattern)
    pen.ellipse((-0.12, 0.1), (0.05, 0.12), p.light, angle_deg=15)


def draw_banana(pen: Pen) -> None:
    """A crescent with dark ends and a ridge."""
    p, bend = pen.palette, pen.between(0.12, 0.26)
    thick = pen.between(0.16, 0.22)
    back = [(-0.45, -0.2), (-0.28, bend - 0.02), (0.0, bend + 0.08), (0.28, bend - 0.02), (0.45, -0.22)]
    belly = [(x * 0.86, y - thick * (1.0 - abs(x) * 1.6)) for x, y in reversed(back)]
    pen.blob(back + belly, p.main)
    pen.stroke([(x * 0.9, y - thick * 0.45) for x, y in back[1:4]], 0.025, p.dark, smooth=True)
    pen.ellipse((-0.44, -0.22), 0.045, NAMED["black"])
    pen.stroke([(0.42, -0.2), (0.47, -0.32)], 0.07, p.dark)


def draw_carrot(pen: Pen) -> None:
    """A long cone with rings and a tuft of green."""
    p, wide = pen.palette, pen.between(0.13, 0.19)
    green = jittered(NAMED["green"], pen.rng)
    for tip in (-0.16, -0.05, 0.06, 0.17):
        pen.stroke([(0, -0.2), (tip + pen.between(-0.02, 0.02), -0.5)], 0.06, green)
    pen.blob([(-wide, -0.22), (0, -0.27), (wide, -0.22), (wide * 0.5, 0.15), (0, 0.5), (-wide * 0.5, 0.15)], p.main)
    for y in (-0.12, 0.0, 0.12, 0.24):
        reach = wide * (0.55 - y) * 0.9
        start = pen.between(-reach, 0.0)
        pen.stroke([(start, y), (start + reach, y + 0.015)], 0.022, p.dark)


def draw_pizza(pen: Pen) -> None:
    """A slice: a wedge with a crust and round toppings."""
    p, half = pen.palette, pen.between(0.3, 0.4)
    crust = jittered(NAMED["tan"], pen.rng)
    pen.polygon([(-half, -0.34), (half, -0.34), (0.0, 0.5)], p.main)
    pen.stroke([(-half, -0.34), (0, -0.41), (half, -0.34)], 0.15, crust, smooth=True)
    for x, y in ((-0.14, -0.16), (0.15, -0.14), (0.01, 0.06), (0.0, 0.27)):
        pen.ellipse((x + pen.between(-0.03, 0.03), y), pen.between(0.05, 0.08), p.accent)


def draw_donut(pen: Pen) -> None:
    """A ring with icing and sprinkles."""
    p, hole = pen.palette, pen.between(0.12, 0.17)
    pen.ellipse((0, 0), 0.46, jittered(NAMED["tan"], pen.rng))
    wavy = [
        (math.cos(a * 0.524) * (0.4 + 0.03 * (a % 2)), math.sin(a * 0.524) * (0.4 + 0.03 * (a % 2))) for a in range(12)
    ]
    pen.blob(wavy, p.main)
    for _ in range(pen.count(8, 14)):
        angle, radius = pen.between(0, 2 * math.pi), pen.between(hole + 0.07, 0.36)
        x, y, turn = radius * math.cos(angle), radius * math.sin(angle), pen.between(0, math.pi)
        pen.stroke([(x, y), (x + 0.05 * math.cos(turn), y + 0.05 * math.sin(turn))], 0.03, p.second)
    pen.ellipse((0, 0), hole, ERASE)


def draw_hamburger(pen: Pen) -> None:
    """A bun in two halves with layers between."""
    p = pen.palette
    bun = jittered(NAMED["orange"] if pen.chance(0.5) else NAMED["tan"], pen.rng)
    pen.rectangle((-0.44, 0.16), (0.44, 0.36), bun, corner=0.09)
    pen.rectangle((-0.47, 0.06), (0.47, 0.18), jittered(NAMED["brown"], pen.rng), corner=0.06)
    wave = [(-0.48 + 0.12 * i, 0.03 + (0.05 if i % 2 else -0.02)) for i in range(9)]
    pen.stroke(wave, 0.07, p.accent, smooth=True)
    pen.polygon([*ellipse_points((0, -0.02), (0.45, pen.between(0.3, 0.4)), degrees=(180, 360))], bun)
    for _ in range(7):
        pen.ellipse((pen.between(-0.28, 0.28), pen.between(-0.24, -0.08)), (0.03, 0.018), NAMED["cream"])


def draw_mushroom(pen: Pen) -> None:
    """A spotted dome on a pale stalk."""
    p, stalk = pen.palette, pen.between(0.1, 0.16)
    pale = jittered(NAMED["cream"], pen.rng)
    pen.blob([(-stalk, -0.1), (stalk, -0.1), (stalk * 1.2, 0.4), (0, 0.46), (-stalk * 1.2, 0.4)], pale)
    pen.polygon(ellipse_points((0, 0.02), (0.46, pen.between(0.38, 0.48)), degrees=(180, 360)), p.main)
    pen.ellipse((0, 0.02), (0.46, 0.07), mix(pale, NAMED["brown"], 0.35))
    for x, y, radius in ((-0.2, -0.16, 0.07), (0.05, -0.27, 0.08), (0.24, -0.12, 0.06), (0.0, -0.09, 0.05)):
        pen.ellipse((x, y), radius * pen.between(0.8, 1.2), pale)


def draw_cake(pen: Pen) -> None:
    """A layered wedge of cake seen from the side, with icing drops and a cherry."""
    p = pen.palette
    pen.polygon([(-0.46, 0.4), (-0.46, -0.12), (0.44, -0.12), (0.44, 0.4)], jittered(NAMED["cream"], pen.rng))
    pen.rectangle((-0.46, 0.1), (0.44, 0.2), p.second)
    pen.rectangle((-0.47, -0.24), (0.45, -0.06), p.main, corner=0.05)
    for x in (-0.38, -0.2, -0.02, 0.16, 0.34):
        pen.ellipse((x, -0.06), (0.07, pen.between(0.07, 0.13)), p.main)
    pen.ellipse((pen.between(-0.15, 0.15), -0.32), 0.1, NAMED["red"])


def draw_watermelon(pen: Pen) -> None:
    """A half disc with a rind, flesh and pips."""
    rind, flesh = jittered(NAMED["green"], pen.rng), pen.palette.main
    pen.polygon(ellipse_points((0, -0.2), (0.48, 0.56), degrees=(0, 180)), rind)
    pen.polygon(ellipse_points((0, -0.2), (0.42, 0.48), degrees=(0, 180)), NAMED["cream"])
    pen.polygon(ellipse_points((0, -0.2), (0.38, 0.43), degrees=(0, 180)), flesh)
    for x, y in ((-0.22, -0.1), (-0.08, -0.02), (0.08, -0.1), (0.22, -0.04), (-0.12, 0.1), (0.06, 0.1)):
        pen.ellipse((x, y), (0.02, 0.035), NAMED["black"])


def draw_pineapple(pen: Pen) -> None:
    """An oval with a diamond grid under a spiky crown."""
    p, green = pen.palette, jittered(NAMED["green"], pen.rng)
    for x, y in ((-0.24, -0.36), (0.24, -0.36), (-0.13, -0.46), (0.13, -0.46), (0.0, -0.5)):
        pen.polygon([(x * 0.2 - 0.07, -0.1), (x, y), (x * 0.2 + 0.07, -0.1)], green)
    pen.ellipse((0, 0.16), (pen.between(0.22, 0.28), 0.33), p.main)
    for k in (-2, -1, 0, 1, 2):
        pen.stroke([(-0.17 + 0.02 * abs(k), 0.16 + 0.11 * k - 0.09), (0.17, 0.16 + 0.11 * k + 0.05)], 0.022, p.dark)
        pen.stroke([(0.17, 0.16 + 0.11 * k - 0.09), (-0.17, 0.16 + 0.11 * k + 0.05)], 0.022, p.dark)


def draw_strawberry(pen: Pen) -> None:
    """A heart-like body with seeds and a leafy collar."""
    p = pen.palette
    pen.blob([(-0.34, -0.2), (0, -0.28), (0.34, -0.2), (0.3, 0.12), (0, 0.5), (-0.3, 0.12)], p.main)
    for x, y in ((-0.18, -0.06), (0.0, -0.1), (0.18, -0.06), (-0.1, 0.1), (0.1, 0.1), (0.0, 0.26)):
        pen.ellipse((x, y), (0.022, 0.035), NAMED["yellow"])
    green = jittered(NAMED["green"], pen.rng)
    for x in (-0.3, -0.15, 0.0, 0.15, 0.3):
        pen.polygon([(x * 0.3 - 0.08, -0.3), (x * 0.3 + 0.08, -0.3), (x, -0.12)], green)
    pen.stroke([(0, -0.28), (0.05, -0.46)], 0.05, green)


def draw_lollipop(pen: Pen) -> None:
    """A spiral disc on a stick."""
    p, radius = pen.palette, pen.between(0.26, 0.3)
    pen.stroke([(0, -0.1), (0, 0.5)], 0.05, NAMED["cream"])
    pen.ellipse((0, -0.2), radius, p.main)
    spiral = [
        (0.03 * t * radius * 4 * math.cos(t * 0.7), -0.2 + 0.03 * t * radius * 4 * math.sin(t * 0.7))
        for t in range(1, 24)
    ]
    spiral = [(x, y) for x, y in spiral if math.hypot(x, y + 0.2) < radius - 0.03]
    pen.stroke(spiral, 0.05, p.second)


def draw_cherry(pen: Pen) -> None:
    """Two balls on joined stems."""
    p, apart = pen.palette, pen.between(0.2, 0.26)
    green = jittered(NAMED["green"], pen.rng)
    pen.stroke([(-apart, 0.2), (-0.06, -0.16), (0.08, -0.44)], 0.04, green, smooth=True)
    pen.stroke([(apart, 0.24), (0.18, -0.1), (0.08, -0.44)], 0.04, green, smooth=True)
    pen.ellipse((0.22, -0.4), (0.15, 0.07), green, angle_deg=20)
    for x, y in ((-apart, 0.24), (apart, 0.28)):
        pen.ellipse((x, y), 0.19, p.main)
        pen.ellipse((x - 0.06, y - 0.06), 0.04, p.light)
