"""Silhouettes, parts and textures of devices, instruments and luggage."""

from __future__ import annotations

import math

from xpm_stream.data.synthetic.palette import NAMED, jittered
from xpm_stream.data.synthetic.pen import ERASE, Pen, ellipse_points


def draw_backpack(pen: Pen) -> None:
    """A rounded pack with a front pocket, straps and a loop."""
    p = pen.palette
    pen.arc((0, -0.38), 0.09, (180, 360), 0.045, p.dark)
    for side in (-1, 1):
        pen.rectangle((side * 0.36 - 0.07, 0.0), (side * 0.36 + 0.07, 0.34), p.dark, corner=0.06)
    pen.rectangle((-0.33, -0.38), (0.33, 0.46), p.main, corner=0.2, pattern=pen.pattern)
    pen.rectangle((-0.23, 0.08), (0.23, 0.36), p.second, corner=0.06)
    pen.stroke([(-0.16, 0.16), (0.16, 0.16)], 0.028, p.dark)
    pen.stroke([(-0.26, -0.1), (0.26, -0.1)], 0.035, p.dark)


def draw_suitcase(pen: Pen) -> None:
    """A hard case with ribs, a handle and wheels."""
    p, ribs = pen.palette, pen.count(2, 4)
    pen.stroke([(-0.14, -0.3), (-0.14, -0.47), (0.14, -0.47), (0.14, -0.3)], 0.05, NAMED["grey"])
    for side in (-1, 1):
        pen.ellipse((side * 0.22, 0.45), 0.055, NAMED["black"])
    pen.rectangle((-0.34, -0.32), (0.34, 0.42), p.main, corner=0.07)
    for k in range(ribs):
        x = -0.24 + 0.48 * k / max(1, ribs - 1)
        pen.stroke([(x, -0.22), (x, 0.32)], 0.045, p.dark)


def draw_television(pen: Pen) -> None:
    """A screen in a case with knobs, feelers and feet."""
    p = pen.palette
    for side in (-1, 1):
        pen.stroke([(0, -0.22), (side * pen.between(0.14, 0.26), -0.48)], 0.03, NAMED["grey"])
        pen.stroke([(side * 0.26, 0.3), (side * 0.32, 0.44)], 0.055, p.dark)
    pen.rectangle((-0.48, -0.26), (0.48, 0.34), p.main, corner=0.07)
    pen.rectangle((-0.4, -0.18), (0.2, 0.26), (70, 90, 110), corner=0.08)
    pen.stroke([(-0.3, -0.08), (-0.18, -0.12)], 0.035, NAMED["white"])
    for y in (-0.1, 0.06):
        pen.ellipse((0.34, y), 0.06, p.second)


def draw_laptop(pen: Pen) -> None:
    """A screen hinged on a slanted keyboard."""
    p = pen.palette
    pen.rectangle((-0.36, -0.4), (0.36, 0.08), NAMED["grey"], corner=0.04)
    pen.rectangle((-0.3, -0.34), (0.3, 0.03), p.main)
    pen.polygon([(-0.36, 0.1), (0.36, 0.1), (0.5, 0.36), (-0.5, 0.36)], NAMED["silver"])
    for y in (0.15, 0.21):
        pen.stroke([(-0.32 - (y - 0.1) * 0.4, y), (0.32 + (y - 0.1) * 0.4, y)], 0.03, NAMED["black"])
    pen.rectangle((-0.1, 0.27), (0.1, 0.33), NAMED["grey"])


def draw_telephone(pen: Pen) -> None:
    """A desk telephone: a handset resting on a base with a dial."""
    p = pen.palette
    pen.polygon([(-0.26, -0.16), (0.26, -0.16), (0.44, 0.4), (-0.44, 0.4)], p.main)
    pen.ellipse((0, 0.14), 0.18, NAMED["white"])
    for k in range(8):
        angle = 2 * math.pi * k / 8
        pen.ellipse((0.12 * math.cos(angle), 0.14 + 0.12 * math.sin(angle)), 0.026, NAMED["black"])
    pen.stroke([(-0.38, -0.22), (-0.2, -0.33), (0.2, -0.33), (0.38, -0.22)], 0.1, p.second, smooth=True)
    for side in (-1, 1):
        pen.ellipse((side * 0.4, -0.19), (0.1, 0.12), p.second)


def draw_camera(pen: Pen) -> None:
    """A box with a big lens, a flash and a button."""
    p, lens = pen.palette, pen.between(0.17, 0.22)
    pen.rectangle((-0.16, -0.38), (0.16, -0.2), p.dark, corner=0.04)
    pen.rectangle((0.24, -0.34), (0.38, -0.24), NAMED["red"])
    pen.rectangle((-0.48, -0.26), (0.48, 0.34), p.main, corner=0.07)
    pen.rectangle((-0.48, -0.04), (0.48, 0.14), p.dark)
    pen.ellipse((0, 0.05), lens, NAMED["silver"])
    pen.ellipse((0, 0.05), lens * 0.72, NAMED["black"])
    pen.ellipse((-0.05, 0.0), lens * 0.22, NAMED["sky"])
    pen.rectangle((-0.4, -0.2), (-0.26, -0.1), NAMED["cream"])


def draw_drum(pen: Pen) -> None:
    """A cylinder with zigzag cords and a pale skin."""
    p, cords = pen.palette, pen.count(4, 6)
    pen.ellipse((0, 0.28), (0.42, 0.12), p.main)
    pen.rectangle((-0.42, -0.2), (0.42, 0.28), p.main)
    zigzag = [(-0.4 + 0.8 * k / (2 * cords), -0.12 if k % 2 else 0.28) for k in range(2 * cords + 1)]
    pen.stroke(zigzag, 0.03, NAMED["cream"])
    pen.ellipse((0, -0.2), (0.44, 0.14), p.second)
    pen.ellipse((0, -0.21), (0.37, 0.1), NAMED["cream"])


def draw_guitar(pen: Pen) -> None:
    """A waisted body with a sound hole, a neck and a head."""
    p = pen.palette
    waist, hip = pen.between(0.13, 0.17), pen.between(0.24, 0.29)
    side = [(0.14, -0.08), (0.19, 0.02), (waist, 0.12), (hip, 0.32), (0.14, 0.48)]
    pen.blob([*side, *[(-x, y) for x, y in reversed(side)]], p.main)
    pen.stroke([(0, -0.4), (0, 0.12)], 0.06, p.dark)
    pen.rectangle((-0.07, -0.5), (0.07, -0.36), p.second)
    pen.ellipse((0, 0.14), 0.075, NAMED["black"])
    pen.stroke([(-0.1, 0.34), (0.1, 0.34)], 0.04, p.dark)


def draw_trumpet(pen: Pen) -> None:
    """A flared bell, a tube loop and three valves."""
    p = pen.palette
    pen.stroke([(-0.48, 0.0), (0.3, 0.0)], 0.06, p.main)
    pen.arc((-0.06, 0.09), (0.18, 0.1), (0, 360), 0.05, p.main)
    for x in (-0.14, -0.03, 0.08):
        pen.rectangle((x - 0.035, -0.22), (x + 0.035, 0.16), p.second)
        pen.ellipse((x, -0.23), 0.045, p.dark)
    pen.blob([(0.2, -0.04), (0.36, -0.1), (0.48, -0.26), (0.5, 0.0), (0.48, 0.26), (0.36, 0.1), (0.2, 0.04)], p.main)
    pen.rectangle((-0.5, -0.05), (-0.44, 0.05), p.dark)


def draw_hat(pen: Pen) -> None:
    """A crown with a band over a wide brim."""
    p, high = pen.palette, pen.between(-0.36, -0.24)
    pen.ellipse((0, 0.22), (0.5, 0.11), p.main)
    pen.blob([(-0.27, 0.2), (-0.24, high), (0, high - 0.03), (0.24, high), (0.27, 0.2), (0, 0.25)], p.main)
    pen.polygon([(-0.27, 0.05), (0.27, 0.05), (0.28, 0.18), (0, 0.24), (-0.28, 0.18)], p.second)


def draw_boot(pen: Pen) -> None:
    """A tall shaft, a foot and a thick sole with a heel."""
    p = pen.palette
    pen.polygon([(-0.28, -0.46), (0.04, -0.46), (0.06, 0.1), (-0.28, 0.1)], p.main, pattern=pen.pattern)
    pen.blob([(-0.3, 0.04), (0.06, 0.04), (0.34, 0.16), (0.44, 0.34), (0.0, 0.38), (-0.3, 0.36)], p.main)
    pen.rectangle((-0.32, 0.33), (0.46, 0.41), p.dark)
    pen.rectangle((-0.32, 0.38), (-0.12, 0.48), p.dark)
    pen.stroke([(-0.28, -0.41), (0.04, -0.41)], 0.08, p.second)


def draw_glove(pen: Pen) -> None:
    """A palm with four fingers, a thumb and a cuff."""
    p = pen.palette
    for x, y in ((-0.18, -0.34), (-0.06, -0.44), (0.07, -0.44), (0.19, -0.34)):
        pen.stroke([(x * 0.9, 0.0), (x, y)], 0.11, p.main)
    pen.stroke([(0.1, 0.16), (0.36, -0.06)], 0.12, p.main)
    pen.rectangle((-0.24, -0.1), (0.24, 0.32), p.main, corner=0.08)
    pen.rectangle((-0.26, 0.28), (0.26, 0.48), p.second, corner=0.04)


def draw_sock(pen: Pen) -> None:
    """A bent tube with a striped leg, heel and toe patches."""
    p = pen.palette
    pen.stroke([(-0.12, -0.36), (-0.12, 0.26), (0.24, 0.34)], 0.28, p.main)
    pen.ellipse((0.28, 0.35), 0.135, p.second)
    pen.ellipse((-0.16, 0.3), 0.12, p.second)
    pen.rectangle((-0.28, -0.5), (0.04, -0.38), p.second)
    for y in (-0.24, -0.1):
        pen.stroke([(-0.24, y), (0.0, y)], 0.06, p.accent)


def draw_shirt(pen: Pen) -> None:
    """A torso with short sleeves and a collar."""
    p, wide = pen.palette, pen.between(0.24, 0.29)
    half = [(0.1, -0.42), (wide, -0.38), (0.49, -0.14), (0.37, 0.02), (wide, -0.08), (wide, 0.44)]
    pen.polygon([*half, *[(-x, y) for x, y in reversed(half)]], p.main, pattern=pen.pattern)
    pen.ellipse((0, -0.42), (0.11, 0.09), ERASE)
    for y in (-0.22, -0.06, 0.1, 0.26):
        pen.ellipse((0, y), 0.025, p.second)


def draw_dress(pen: Pen) -> None:
    """A bodice with straps, a belt and a flared skirt."""
    p, flare = pen.palette, pen.between(0.32, 0.44)
    for side in (-1, 1):
        pen.stroke([(side * 0.11, -0.48), (side * 0.13, -0.3)], 0.05, p.main)
    pen.polygon([(-0.17, -0.34), (0.17, -0.34), (0.12, -0.04), (-0.12, -0.04)], p.main)
    pen.polygon(
        [(-0.12, -0.06), (0.12, -0.06), (flare, 0.42), (0.0, 0.48), (-flare, 0.42)], p.main, pattern=pen.pattern
    )
    pen.rectangle((-0.14, -0.1), (0.14, -0.03), p.second)


def draw_crown(pen: Pen) -> None:
    """A band with tall points tipped by balls, and jewels."""
    p, points = pen.palette, pen.count(3, 5)
    outline = [(-0.42, 0.34)]
    for k in range(points):
        x = -0.46 + 0.92 * k / (points - 1)
        outline.append((x, -0.3))
        if k < points - 1:
            outline.append((x + 0.46 / (points - 1), 0.04))
    pen.polygon([*outline, (0.42, 0.34)], p.main)
    for k in range(points):
        pen.ellipse((-0.46 + 0.92 * k / (points - 1), -0.32), 0.055, p.second)
    pen.rectangle((-0.43, 0.2), (0.43, 0.36), p.dark)
    for x in (-0.26, 0.0, 0.26):
        pen.ellipse((x, 0.28), 0.05, p.accent)


def draw_necktie(pen: Pen) -> None:
    """A knot over a long blade with diagonal stripes."""
    p, wide = pen.palette, pen.between(0.14, 0.19)
    pen.polygon([(-0.06, -0.34), (0.06, -0.34), (wide, 0.3), (0, 0.5), (-wide, 0.3)], p.main)
    for y in (-0.16, 0.0, 0.16, 0.3):
        reach = 0.06 + (wide - 0.06) * (y + 0.34) / 0.64 - 0.03
        pen.stroke([(-reach, y + 0.03), (reach, y - 0.05)], 0.045, p.second)
    pen.polygon([(-0.13, -0.5), (0.13, -0.5), (0.07, -0.32), (-0.07, -0.32)], p.dark)


def draw_ring(pen: Pen) -> None:
    """A band with a cut stone."""
    p = pen.palette
    pen.arc((0, 0.14), pen.between(0.27, 0.31), (0, 360), 0.085, jittered(NAMED["gold"], pen.rng))
    pen.polygon([(-0.2, -0.38), (-0.1, -0.5), (0.1, -0.5), (0.2, -0.38), (0.0, -0.12)], p.main)
    pen.polygon([(-0.08, -0.38), (0.08, -0.38), (0.0, -0.16)], p.light)


def draw_dice(pen: Pen) -> None:
    """A cube in three faces with pips."""
    p = pen.palette
    pen.polygon([(0, -0.48), (0.42, -0.26), (0, -0.04), (-0.42, -0.26)], p.light)
    pen.polygon([(-0.42, -0.26), (0, -0.04), (0, 0.48), (-0.42, 0.24)], p.main)
    pen.polygon([(0.42, -0.26), (0, -0.04), (0, 0.48), (0.42, 0.24)], p.dark)
    for centre in ((0, -0.26), (-0.3, -0.02), (-0.12, 0.28), (0.21, 0.1), (0.1, 0.26), (0.32, -0.06)):
        pen.ellipse(centre, 0.045, NAMED["white"] if centre[0] > 0 else NAMED["black"])


def draw_wheel(pen: Pen) -> None:
    """A cart wheel: a rim, spokes and a hub."""
    p, spokes = pen.palette, pen.count(6, 9)
    for k in range(spokes):
        angle = 2 * math.pi * k / spokes
        pen.stroke([(0, 0), (0.42 * math.cos(angle), 0.42 * math.sin(angle))], 0.055, p.second)
    pen.arc((0, 0), 0.42, (0, 360), 0.12, p.main)
    pen.ellipse((0, 0), 0.11, p.main)


def draw_globe(pen: Pen) -> None:
    """A ball with land masses in a curved stand."""
    p, stand = pen.palette, jittered(NAMED["brown"], pen.rng)
    pen.arc((0, -0.08), 0.4, (20, 200), 0.05, stand)
    pen.stroke([(0, 0.32), (0, 0.44)], 0.06, stand)
    pen.rectangle((-0.22, 0.42), (0.22, 0.5), stand, corner=0.03)
    pen.ellipse((0, -0.08), 0.34, p.main)
    pen.blob([(-0.22, -0.2), (-0.02, -0.3), (0.02, -0.12), (-0.14, 0.02)], p.second)
    pen.blob([(0.06, -0.02), (0.24, -0.14), (0.22, 0.08), (0.08, 0.16)], p.second)
    pen.stroke(ellipse_points((0, -0.08), (0.1, 0.33), degrees=(-90, 90)), 0.018, p.dark)
