"""Anti-aliased drawing of one object in its own unit frame, in a filled or a sketched style.

Shapes are drawn with coordinates in [-0.5, 0.5], x to the right and y down. The pen turns, stretches and scales them
onto a supersampled canvas, so that a silhouette is a function of a few lines and never touches pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageDraw

from xpm_stream.data.synthetic.palette import Colour, Palette, mix

Point = tuple[float, float]
Pattern = Literal["plain", "stripes", "checks", "dots", "speckles"]
Style = Literal["filled", "sketch"]

ERASE: Final[Colour] = (-1, -1, -1)  # as a paint: makes a hole
_PAPER: Final[Colour] = (244, 242, 236)
_INK: Final[Colour] = (38, 38, 46)
_MARGIN: Final = 1.5  # canvas side over object extent: a turned unit square needs sqrt(2), parts may stick out a little


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """How an object is put onto its canvas."""

    extent_px: float  # side of the unit frame in image pixels
    angle_deg: float
    stretch: float  # width over height of the unit frame
    mirrored: bool


class Pen:
    """Draws one object; `finish` returns it at image resolution."""

    def __init__(
        self,
        pose: Pose,
        *,
        palette: Palette,
        rng: np.random.Generator,
        style: Style = "filled",
        outline: float = 0.0,
        pattern: Pattern = "plain",
    ) -> None:
        self.palette = palette
        self.rng = rng
        self.pattern = pattern
        self._style = style
        self._reduction = 2 if pose.extent_px > 70 else 3
        self._scale = pose.extent_px * self._reduction
        side = max(4, math.ceil(pose.extent_px * _MARGIN)) * self._reduction
        self._canvas = Image.new("RGBA", (side, side), (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self._canvas)
        self._outline_px = max(1.0, (0.028 if style == "sketch" else outline) * self._scale)
        self._has_outline = style == "sketch" or outline > 0.0
        self._outline_colour = _INK if style == "sketch" else palette.outline
        turn = math.radians(pose.angle_deg)
        width, height = math.sqrt(pose.stretch), 1.0 / math.sqrt(pose.stretch)
        flip = -1.0 if pose.mirrored else 1.0
        cosine, sine = math.cos(turn) * self._scale, math.sin(turn) * self._scale
        self._affine = (cosine * width * flip, -sine * height, sine * width * flip, cosine * height)
        self._centre = side / 2.0

    # Chance, so that shapes read as descriptions

    def between(self, low: float, high: float) -> float:
        """A uniform number."""
        return low + (high - low) * float(self.rng.random())

    def count(self, low: int, high: int) -> int:
        """A uniform whole number, both ends included."""
        return int(self.rng.integers(low, high + 1))

    def chance(self, probability: float) -> bool:
        """True with that probability."""
        return bool(self.rng.random() < probability)

    # Marks

    def polygon(self, points: Sequence[Point], paint: Colour, *, pattern: Pattern = "plain") -> None:
        """A filled polygon; `pattern` lays a texture in the palette's second colour over it."""
        self._fill(self._onto_canvas(points), paint, pattern)

    def blob(self, points: Sequence[Point], paint: Colour, *, pattern: Pattern = "plain") -> None:
        """A smooth closed curve through the points, filled."""
        self.polygon(smooth_curve(points, closed=True), paint, pattern=pattern)

    def ellipse(
        self,
        centre: Point,
        radius: float | Point,
        paint: Colour,
        *,
        angle_deg: float = 0.0,
        pattern: Pattern = "plain",
    ) -> None:
        """A filled ellipse; one radius makes a circle."""
        self.polygon(ellipse_points(centre, radius, angle_deg=angle_deg), paint, pattern=pattern)

    def rectangle(
        self,
        left_top: Point,
        right_bottom: Point,
        paint: Colour,
        *,
        corner: float = 0.0,
        pattern: Pattern = "plain",
    ) -> None:
        """A filled rectangle with corners rounded by that radius."""
        self.polygon(rectangle_points(left_top, right_bottom, corner=corner), paint, pattern=pattern)

    def stroke(self, points: Sequence[Point], width: float, paint: Colour, *, smooth: bool = False) -> None:
        """A thick line with round ends through the points."""
        line = self._onto_canvas(smooth_curve(points, closed=False) if smooth else points)
        width_px = max(1.0, width * self._scale)
        if paint is ERASE:
            self._line(line, width_px, (0, 0, 0, 0))
            return
        if self._has_outline and width_px > 3.0 * self._outline_px:
            self._line(line, width_px, (*self._outline_colour, 255))
            width_px -= 2.0 * self._outline_px
        elif self._style == "sketch":
            self._line(line, max(1.0, min(width_px, self._outline_px * 1.5)), (*_INK, 255))
            return
        self._line(line, width_px, (*self._toned(paint), 255))

    def arc(
        self, centre: Point, radius: float | Point, degrees: tuple[float, float], width: float, paint: Colour
    ) -> None:
        """A thick piece of an ellipse's edge; 0 degrees points right, 90 down."""
        self.stroke(ellipse_points(centre, radius, degrees=degrees), width, paint)

    def finish(self) -> npt.NDArray[np.uint8]:
        """The object at image resolution, cut to what is visible: RGBA (H, W, 4) uint8, at least one pixel each way."""
        step = self._reduction
        left, top, right, bottom = self._canvas.getbbox() or (0, 0, 1, 1)
        grid_box = (left // step * step, top // step * step, -(-right // step) * step, -(-bottom // step) * step)
        image = self._canvas.crop(grid_box).reduce(step)
        box = image.getchannel("A").point(_HALF_OPAQUE).getbbox() or (0, 0, 1, 1)
        return np.asarray(image.crop(box))

    # How marks reach the canvas

    def _onto_canvas(self, points: Sequence[Point]) -> list[Point]:
        a, b, c, d = self._affine
        centre = self._centre
        return [(a * x + b * y + centre, c * x + d * y + centre) for x, y in points]

    def _fill(self, outline: list[Point], paint: Colour, pattern: Pattern) -> None:
        if paint is ERASE:
            self._cut(outline)
            return
        self._draw.polygon(outline, fill=(*self._toned(paint), 255))
        if self._style == "sketch":
            if _luminance(paint) < 150 or pattern != "plain":
                self._lay_pattern(outline, "stripes" if pattern == "plain" else pattern, _INK, density=2.2)
        elif pattern != "plain":
            self._lay_pattern(outline, pattern, self.palette.second, density=1.0)
        if self._has_outline:
            self._line([*outline, outline[0]], self._outline_px, (*self._outline_colour, 255))

    def _cut(self, outline: list[Point]) -> None:
        """Make a hole, with an outline where it lies inside what is drawn."""
        before = self._canvas.getchannel("A") if self._has_outline else None
        self._draw.polygon(outline, fill=(0, 0, 0, 0))
        if before is not None:
            edge = Image.new("L", before.size, 0)
            ImageDraw.Draw(edge).line([*outline, outline[0]], fill=255, width=round(self._outline_px))
            self._canvas.paste((*self._outline_colour, 255), (0, 0), ImageChops.multiply(edge, before))

    def _toned(self, paint: Colour) -> Colour:
        return mix(_PAPER, paint, 0.07) if self._style == "sketch" else paint

    def _line(self, points: Sequence[Point], width_px: float, fill: tuple[int, int, int, int]) -> None:
        width = round(width_px)
        self._draw.line(list(points), fill=fill, width=width, joint="curve" if width > 2 else None)
        if width > 3:
            radius = width / 2.0 - 0.5
            for x, y in (points[0], points[-1]):
                self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)

    def _lay_pattern(self, outline: list[Point], pattern: Pattern, colour: Colour, *, density: float) -> None:
        xs, ys = [x for x, _ in outline], [y for _, y in outline]
        left, top = max(0, math.floor(min(xs))), max(0, math.floor(min(ys)))
        width, height = math.ceil(max(xs)) - left + 1, math.ceil(max(ys)) - top + 1
        if width < 3 or height < 3:
            return
        inside = Image.new("L", (width, height), 0)
        ImageDraw.Draw(inside).polygon([(x - left, y - top) for x, y in outline], fill=255)
        marks = Image.new("L", (width, height), 0)
        ink = ImageDraw.Draw(marks)
        pitch = self._scale * 0.11 / density * self.between(0.8, 1.3)
        if pattern in ("stripes", "checks"):
            turn = math.radians(self.between(-60.0, 60.0))
            line_width = pitch * (0.22 if self._style == "sketch" else 0.42)
            _parallel_lines(ink, (width, height), turn, pitch, line_width)
            if pattern == "checks":
                _parallel_lines(ink, (width, height), turn + math.pi / 2, pitch, line_width)
        else:
            small = pattern == "speckles"
            radius = pitch * (0.16 if small else 0.3)
            number = min(90, int(width * height / (pitch * pitch) * (1.4 if small else 1.0)) + 1)
            for x, y in self.rng.random((number, 2)) * (width, height):
                ink.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
        self._canvas.paste((*colour, 255), (left, top), ImageChops.multiply(inside, marks))


_HALF_OPAQUE: Final = [0] * 128 + [255] * 128


def _luminance(colour: Colour) -> float:
    return 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]


def _parallel_lines(
    ink: ImageDraw.ImageDraw, size: tuple[int, int], turn: float, pitch: float, line_width: float
) -> None:
    width, height = size
    reach = math.hypot(width, height) / 2.0
    along, across = (math.cos(turn), math.sin(turn)), (-math.sin(turn), math.cos(turn))
    steps = int(reach / pitch) + 1
    for step in range(-steps, steps + 1):
        x, y = width / 2 + across[0] * step * pitch, height / 2 + across[1] * step * pitch
        ends = (x - along[0] * reach, y - along[1] * reach, x + along[0] * reach, y + along[1] * reach)
        ink.line(ends, fill=255, width=max(1, round(line_width)))


def ellipse_points(
    centre: Point,
    radius: float | Point,
    *,
    angle_deg: float = 0.0,
    degrees: tuple[float, float] = (0.0, 360.0),
) -> list[Point]:
    """Points on an ellipse's edge from the first to the second angle, the ellipse itself turned by `angle_deg`."""
    radius_x, radius_y = (radius, radius) if isinstance(radius, int | float) else radius
    cosine, sine = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    start, end = (math.radians(value) for value in degrees)
    steps = max(4, round(abs(end - start) * 5))
    points = []
    for step in range(steps + 1):
        angle = start + (end - start) * step / steps
        x, y = radius_x * math.cos(angle), radius_y * math.sin(angle)
        points.append((centre[0] + x * cosine - y * sine, centre[1] + x * sine + y * cosine))
    return points


def rectangle_points(left_top: Point, right_bottom: Point, *, corner: float = 0.0) -> list[Point]:
    """The outline of a rectangle with corners rounded by that radius."""
    (left, top), (right, bottom) = left_top, right_bottom
    if corner <= 0.0:
        return [(left, top), (right, top), (right, bottom), (left, bottom)]
    radius = min(corner, abs(right - left) / 2, abs(bottom - top) / 2)
    corners = [
        (right - radius, top + radius, -90.0),
        (right - radius, bottom - radius, 0.0),
        (left + radius, bottom - radius, 90.0),
        (left + radius, top + radius, 180.0),
    ]
    return [point for x, y, start in corners for point in ellipse_points((x, y), radius, degrees=(start, start + 90.0))]


def smooth_curve(points: Sequence[Point], *, closed: bool, steps: int = 6) -> list[Point]:
    """A Catmull-Rom spline through the points, `steps` pieces between neighbours."""
    number = len(points)
    curve: list[Point] = []
    for index in range(number if closed else number - 1):
        if closed:
            p0, p1, p2, p3 = (points[(index + offset) % number] for offset in (-1, 0, 1, 2))
        else:
            p0, p1, p2, p3 = (points[min(max(index + offset, 0), number - 1)] for offset in (-1, 0, 1, 2))
        for step in range(steps):
            t = step / steps
            t2, t3 = t * t, t * t * t
            w0, w1 = -0.5 * t3 + t2 - 0.5 * t, 1.5 * t3 - 2.5 * t2 + 1.0
            w2, w3 = -1.5 * t3 + 2.0 * t2 + 0.5 * t, 0.5 * t3 - 0.5 * t2
            curve.append(
                (
                    w0 * p0[0] + w1 * p1[0] + w2 * p2[0] + w3 * p3[0],
                    w0 * p0[1] + w1 * p1[1] + w2 * p2[1] + w3 * p3[1],
                )
            )
    if not closed:
        curve.append(points[-1])
    return curve
