"""Silhouettes, parts and textures of animals."""

from __future__ import annotations

import math

from xpm_stream.data.synthetic.palette import NAMED, jittered
from xpm_stream.data.synthetic.pen import Pen, Point


def _eye(pen: Pen, centre: Point, radius: float = 0.045) -> None:
    pen.ellipse(centre, radius, NAMED["white"])
    pen.ellipse(centre, radius * 0.5, NAMED["black"])


def draw_fish(pen: Pen) -> None:
    """An oval body with a forked tail, fins and stripes."""
    p, deep = pen.palette, pen.between(0.18, 0.27)
    pen.polygon([(-0.22, 0.0), (-0.5, -0.22), (-0.42, 0.0), (-0.5, 0.22)], p.second)
    pen.polygon([(-0.1, -deep * 0.8), (0.1, -deep - 0.14), (0.18, -deep * 0.6)], p.second)
    pen.polygon([(0.0, deep * 0.8), (-0.08, deep + 0.12), (0.14, deep * 0.7)], p.second)
    pen.blob(
        [(-0.3, 0), (-0.1, -deep), (0.2, -deep * 0.9), (0.48, 0.0), (0.2, deep * 0.9), (-0.1, deep)],
        p.main,
        pattern=pen.pattern,
    )
    pen.stroke([(0.14, -deep * 0.7), (0.1, 0.0), (0.14, deep * 0.7)], 0.03, p.dark, smooth=True)
    _eye(pen, (0.29, -0.06))


def draw_duck(pen: Pen) -> None:
    """A swimming bird: a boat-shaped body, a round head and a bill."""
    p, bill = pen.palette, jittered(NAMED["orange"], pen.rng)
    pen.polygon([(0.36, -0.28), (0.5, -0.22), (0.36, -0.17)], bill)
    pen.blob([(-0.48, -0.08), (-0.2, 0.0), (0.12, -0.05), (0.3, 0.1), (0.22, 0.34), (-0.2, 0.36), (-0.4, 0.2)], p.main)
    pen.ellipse((0.24, -0.24), pen.between(0.15, 0.18), p.main)
    pen.stroke([(0.2, -0.16), (0.18, 0.06)], 0.14, p.main)
    pen.blob([(-0.26, 0.1), (0.08, 0.06), (0.06, 0.24), (-0.14, 0.26)], p.second)
    _eye(pen, (0.28, -0.27), 0.035)


def draw_butterfly(pen: Pen) -> None:
    """Four patterned wings on a thin body with feelers."""
    p, upper, lower = pen.palette, pen.between(0.36, 0.44), pen.between(0.26, 0.34)
    for side in (-1, 1):
        pen.blob(
            [(0, -0.05), (side * upper * 0.6, -0.42), (side * upper * 1.1, -0.3), (side * upper * 0.8, 0.0)], p.main
        )
        pen.blob([(0, 0.03), (side * lower, 0.06), (side * lower * 0.9, 0.36), (side * 0.1, 0.26)], p.second)
        pen.ellipse((side * upper * 0.68, -0.22), 0.07, p.accent)
        pen.ellipse((side * lower * 0.66, 0.18), 0.05, p.main)
        pen.stroke([(0, -0.2), (side * 0.1, -0.44)], 0.022, NAMED["black"])
    pen.ellipse((0, 0.02), (0.045, 0.26), NAMED["black"])


def draw_snake(pen: Pen) -> None:
    """A winding banded body with a head and a forked tongue."""
    p, swing = pen.palette, pen.between(0.13, 0.2)
    path = [(-0.46 + 0.092 * k, swing * math.sin(k * 1.15)) for k in range(10)]
    pen.stroke([path[-1], (path[-1][0] + 0.13, path[-1][1] - 0.06)], 0.025, NAMED["red"])
    pen.stroke(path, 0.13, p.main, smooth=True)
    for x, y in path[1:8]:
        pen.ellipse((x, y), (0.028, 0.05), p.second, angle_deg=pen.between(-30, 30))
    pen.ellipse((path[-1][0], path[-1][1]), (0.11, 0.085), p.main)
    _eye(pen, (path[-1][0] + 0.03, path[-1][1] - 0.035), 0.03)


def draw_starfish(pen: Pen) -> None:
    """Five rounded arms with dots."""
    p, inner = pen.palette, pen.between(0.16, 0.22)
    points = []
    for k in range(10):
        radius = 0.48 if k % 2 == 0 else inner
        angle = math.pi * k / 5 - math.pi / 2
        points.append((radius * math.cos(angle), radius * math.sin(angle)))
    pen.blob(points, p.main)
    for k in range(5):
        angle = 2 * math.pi * k / 5 - math.pi / 2
        for radius in (0.14, 0.27):
            pen.ellipse((radius * math.cos(angle), radius * math.sin(angle)), 0.03, p.light)


def draw_snail(pen: Pen) -> None:
    """A spiral shell on a crawling body with stalked eyes."""
    p, flesh = pen.palette, jittered(NAMED["tan"], pen.rng)
    for x in (0.34, 0.46):
        pen.stroke([(0.36, 0.14), (x, -0.14)], 0.035, flesh)
        pen.ellipse((x, -0.16), 0.035, NAMED["black"])
    pen.blob([(-0.5, 0.38), (-0.3, 0.24), (0.2, 0.22), (0.34, 0.06), (0.46, 0.12), (0.38, 0.36), (0.1, 0.4)], flesh)
    pen.ellipse((-0.06, -0.0), pen.between(0.27, 0.31), p.main)
    spiral = [(-0.06 + 0.012 * t * math.cos(t * 0.7), 0.012 * t * math.sin(t * 0.7)) for t in range(1, 20)]
    pen.stroke(spiral, 0.04, p.dark)


def draw_rabbit(pen: Pen) -> None:
    """A face with two long upright ears and whiskers."""
    p, spread = pen.palette, pen.between(0.08, 0.2)
    for side in (-1, 1):
        pen.ellipse((side * (0.06 + spread * 0.6), -0.26), (0.085, 0.25), p.main, angle_deg=side * spread * 90)
        pen.ellipse((side * (0.06 + spread * 0.6), -0.26), (0.04, 0.18), NAMED["pink"], angle_deg=side * spread * 90)
    pen.ellipse((0, 0.2), (0.28, 0.27), p.main)
    for side in (-1, 1):
        pen.ellipse((side * 0.11, 0.12), 0.035, NAMED["black"])
        pen.stroke([(side * 0.08, 0.28), (side * 0.34, 0.24)], 0.018, NAMED["black"])
        pen.stroke([(side * 0.08, 0.3), (side * 0.33, 0.34)], 0.018, NAMED["black"])
    pen.ellipse((0, 0.24), (0.045, 0.035), NAMED["pink"])
    pen.rectangle((-0.05, 0.33), (0.05, 0.42), NAMED["white"])


def draw_cat(pen: Pen) -> None:
    """A sitting cat from behind the whiskers: pointed ears, round body, curled tail."""
    p = pen.palette
    pen.stroke([(0.18, 0.4), (0.42, 0.36), (0.42, 0.1), (0.34, 0.0)], 0.085, p.main, smooth=True)
    pen.blob(
        [(-0.14, -0.1), (0.14, -0.1), (0.27, 0.3), (0.18, 0.48), (-0.18, 0.48), (-0.27, 0.3)],
        p.main,
        pattern=pen.pattern,
    )
    for side in (-1, 1):
        pen.polygon([(side * 0.22, -0.24), (side * 0.2, -0.5), (side * 0.03, -0.36)], p.main)
        pen.polygon([(side * 0.18, -0.3), (side * 0.175, -0.42), (side * 0.09, -0.35)], NAMED["pink"])
    pen.ellipse((0, -0.2), (0.24, 0.19), p.main)
    for side in (-1, 1):
        pen.ellipse((side * 0.1, -0.22), (0.05, 0.035), NAMED["lime"])
        pen.ellipse((side * 0.1, -0.22), (0.015, 0.035), NAMED["black"])
        pen.stroke([(side * 0.06, -0.12), (side * 0.3, -0.14)], 0.016, NAMED["black"])
    pen.polygon([(-0.03, -0.15), (0.03, -0.15), (0, -0.11)], NAMED["pink"])


def draw_octopus(pen: Pen) -> None:
    """A bulb with eyes over waving arms."""
    p, arms = pen.palette, pen.count(5, 7)
    for k in range(arms):
        x = -0.38 + 0.76 * k / (arms - 1)
        wave = pen.between(-0.07, 0.07)
        pen.stroke(
            [(x * 0.5, 0.0), (x * 0.9 + wave, 0.2), (x - wave, 0.34), (x * 1.15 + wave, 0.46)],
            0.085,
            p.main,
            smooth=True,
        )
    pen.ellipse((0, -0.2), (pen.between(0.24, 0.3), 0.29), p.main, pattern=pen.pattern)
    for side in (-1, 1):
        _eye(pen, (side * 0.1, -0.1), 0.06)


def draw_spider(pen: Pen) -> None:
    """Eight bent legs round two balls."""
    p = pen.palette
    for side in (-1, 1):
        for tilt in (-0.34, -0.13, 0.12, 0.36):
            pen.stroke([(0, 0), (side * 0.26, tilt - 0.12), (side * 0.46, tilt + 0.12)], 0.04, p.dark)
    pen.ellipse((0, 0.14), (0.2, 0.24), p.main, pattern=pen.pattern)
    pen.ellipse((0, -0.16), 0.13, p.dark)
    for side in (-1, 1):
        pen.ellipse((side * 0.05, -0.2), 0.03, NAMED["red"])


def draw_turtle(pen: Pen) -> None:
    """From above: a patterned shell, a head and four flippers."""
    p, skin = pen.palette, jittered(NAMED["lime"], pen.rng)
    for side in (-1, 1):
        pen.ellipse((side * 0.34, -0.22), (0.16, 0.08), skin, angle_deg=side * 40)
        pen.ellipse((side * 0.3, 0.28), (0.13, 0.07), skin, angle_deg=-side * 40)
    pen.ellipse((0, -0.4), (0.1, 0.12), skin)
    pen.polygon([(-0.04, 0.34), (0.04, 0.34), (0, 0.5)], skin)
    pen.ellipse((0, 0.04), (0.32, 0.36), p.main)
    pen.blob([(0.12 * math.cos(a), 0.04 + 0.14 * math.sin(a)) for a in (0, 1.05, 2.1, 3.14, 4.2, 5.24)], p.second)
    for angle in (0.5, 1.57, 2.6, 3.7, 4.71, 5.8):
        pen.ellipse((0.22 * math.cos(angle), 0.04 + 0.25 * math.sin(angle)), 0.06, p.second)


def draw_penguin(pen: Pen) -> None:
    """Upright: dark back, pale belly, flippers, beak and feet."""
    p, beak = pen.palette, jittered(NAMED["orange"], pen.rng)
    for side in (-1, 1):
        pen.ellipse((side * 0.12, 0.46), (0.12, 0.045), beak)
        pen.ellipse((side * 0.28, 0.06), (0.07, 0.22), p.dark, angle_deg=-side * pen.between(10, 30))
    pen.blob([(0, -0.5), (0.19, -0.36), (0.26, 0.1), (0.16, 0.46), (-0.16, 0.46), (-0.26, 0.1), (-0.19, -0.36)], p.dark)
    pen.ellipse((0, 0.16), (0.17, 0.27), NAMED["white"])
    pen.polygon([(-0.06, -0.26), (0.06, -0.26), (0, -0.14)], beak)
    for side in (-1, 1):
        _eye(pen, (side * 0.08, -0.34), 0.045)


def draw_elephant(pen: Pen) -> None:
    """A big body on pillar legs, an ear and a hanging trunk."""
    p = pen.palette
    for x in (-0.36, -0.16, 0.02):
        pen.rectangle((x, 0.1), (x + 0.12, 0.44), p.main)
    pen.stroke([(-0.4, -0.1), (-0.48, 0.14)], 0.03, p.dark)
    pen.ellipse((-0.12, -0.06), (0.32, 0.26), p.main)
    pen.stroke([(0.3, -0.1), (0.43, 0.1), (0.4, 0.3), (pen.between(0.42, 0.5), 0.4)], 0.1, p.main, smooth=True)
    pen.ellipse((0.22, -0.14), (0.19, 0.2), p.main)
    pen.ellipse((0.1, -0.12), (0.13, 0.18), p.dark)
    pen.stroke([(0.32, 0.02), (0.46, 0.06)], 0.045, NAMED["white"])
    pen.ellipse((0.3, -0.2), 0.03, NAMED["black"])


def draw_giraffe(pen: Pen) -> None:
    """A long patched neck over a small body on thin legs."""
    p, lean = pen.palette, pen.between(0.1, 0.22)
    for x in (-0.3, -0.2, 0.0, 0.1):
        pen.stroke([(x, 0.16), (x, 0.48)], 0.05, p.main)
    pen.ellipse((-0.1, 0.14), (0.25, 0.13), p.main)
    pen.stroke([(0.06, 0.14), (lean, -0.36)], 0.12, p.main)
    pen.stroke([(lean, -0.38), (lean + 0.16, -0.33)], 0.11, p.main)
    for side in (0.0, 0.06):
        pen.stroke([(lean + side, -0.4), (lean + side, -0.5)], 0.03, p.dark)
    for t in (0.15, 0.4, 0.65, 0.9):
        pen.ellipse((0.06 + (lean - 0.06) * t, 0.14 - 0.5 * t), 0.04, p.dark)
    for x, y in ((-0.24, 0.12), (-0.12, 0.18), (-0.06, 0.08)):
        pen.ellipse((x, y), 0.045, p.dark)


def draw_crab(pen: Pen) -> None:
    """A wide shell with raised claws, legs and stalked eyes."""
    p = pen.palette
    for side in (-1, 1):
        for y in (0.16, 0.26, 0.34):
            pen.stroke([(side * 0.2, 0.12), (side * 0.38, y - 0.02), (side * 0.46, y + 0.1)], 0.045, p.main)
        pen.stroke([(side * 0.24, 0.02), (side * 0.4, -0.12)], 0.07, p.main)
        pen.ellipse((side * 0.38, -0.26), (0.11, 0.14), p.main)
        pen.polygon([(side * 0.38, -0.26), (side * 0.34, -0.46), (side * 0.46, -0.44)], NAMED["black"])
        pen.stroke([(side * 0.09, 0.0), (side * 0.1, -0.18)], 0.03, p.main)
        pen.ellipse((side * 0.1, -0.2), 0.04, NAMED["black"])
    pen.ellipse((0, 0.1), (0.3, pen.between(0.17, 0.22)), p.main, pattern=pen.pattern)


def draw_owl(pen: Pen) -> None:
    """A stout body with tufts, two huge eyes and a barred belly."""
    p = pen.palette
    pen.blob(
        [
            (-0.26, -0.48),
            (0, -0.36),
            (0.26, -0.48),
            (0.32, -0.1),
            (0.26, 0.36),
            (0, 0.48),
            (-0.26, 0.36),
            (-0.32, -0.1),
        ],
        p.main,
    )
    pen.ellipse((0, 0.2), (0.18, 0.24), p.light)
    for y in (0.08, 0.18, 0.28):
        pen.stroke([(-0.1, y), (0, y + 0.05), (0.1, y)], 0.025, p.dark)
    for side in (-1, 1):
        pen.ellipse((side * 0.13, -0.2), 0.14, NAMED["cream"])
        pen.ellipse((side * 0.13, -0.2), 0.07, NAMED["black"])
    pen.polygon([(-0.05, -0.12), (0.05, -0.12), (0, 0.0)], NAMED["orange"])


def draw_bee(pen: Pen) -> None:
    """A striped oval with clear wings and a sting."""
    p = pen.palette
    for x, turn in ((-0.08, -20), (0.1, 15)):
        pen.ellipse((x, -0.26), (0.11, 0.22), (215, 230, 240), angle_deg=turn)
    pen.polygon([(-0.36, 0.02), (-0.5, 0.1), (-0.36, 0.18)], NAMED["black"])
    pen.ellipse((-0.04, 0.1), (0.36, pen.between(0.2, 0.25)), p.main)
    for x in (-0.22, -0.06, 0.1):
        pen.stroke([(x, -0.05), (x, 0.25)], 0.075, NAMED["black"])
    pen.ellipse((0.32, 0.06), 0.15, NAMED["black"])
    pen.ellipse((0.36, 0.02), 0.035, NAMED["white"])


def draw_whale(pen: Pen) -> None:
    """A heavy head tapering to a fluke, with a spout."""
    p = pen.palette
    pen.arc((0.12, -0.38), (0.1, 0.12), (180, 300), 0.04, NAMED["sky"])
    pen.arc((0.3, -0.38), (0.1, 0.12), (240, 360), 0.04, NAMED["sky"])
    pen.blob([(-0.36, -0.1), (-0.5, -0.34), (-0.34, -0.26), (-0.2, -0.36), (-0.24, -0.1)], p.main)
    pen.blob([(-0.34, -0.14), (-0.1, 0.0), (0.16, -0.2), (0.44, -0.1), (0.46, 0.2), (0.1, 0.34), (-0.24, 0.2)], p.main)
    pen.blob([(0.46, 0.14), (0.1, 0.2), (-0.16, 0.2), (0.1, 0.32), (0.4, 0.26)], NAMED["white"])
    _eye(pen, (0.28, 0.02), 0.035)
