"""The paper's Figure 3 as a picture: pseudo masks with their words, per-pixel noise, and reliability.

No torch and no matplotlib: the labeler hands over NumPy, Pillow draws.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from xpm_stream.errors import DataError
from xpm_stream.monitoring.picture_parts import (
    CARD,
    EDGE,
    INK,
    PAGE,
    QUIET,
    Box,
    Pixels,
    Word,
    blend_heat,
    blend_mask,
    draw_bar,
    draw_verdict,
    draw_words,
    fit,
    font,
    heat_colours,
    line_height,
    object_colour,
    paste_rounded,
    place_tags,
    wrap_words,
)

_MARGIN: Final = 22  # pixels around and between cards
_PADDING: Final = 14  # inside a card
_GAP: Final = 12  # between the parts of a card
_MAX_OBJECTS: Final = 3  # of an example
_FOOT: Final = 40  # word, reliability and its bar under a noise map
_CAPTION: Final = 17  # type size
_SMALL: Final = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureInstance:
    """One pseudo-labelled object."""

    word: str
    box_xyxy: Box  # pixels of the image
    mask: npt.NDArray[Any]  # [g, g] RoI grid over the box: bits or probabilities
    noise: npt.NDArray[np.floating[Any]] | None = None  # [g, g] per-pixel noise level (standard deviation)
    reliability: float | None = None  # 0..1
    right: bool | None = None  # where the truth is known


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureExample:
    """One captioned image with its pseudo labels."""

    pixels: Pixels  # H x W x 3, RGB
    caption: str
    instances: Sequence[PictureInstance]
    note: str = ""  # small print under the image: which sample, which teacher


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    """The noise colours' ends, one for the whole picture so that objects can be compared."""

    low: float
    high: float


def draw_figure(
    examples: Sequence[PictureExample],
    *,
    title: str = "Pseudo masks, their pixel noise and reliability",
    width: int = 1360,
) -> Image.Image:
    """Draw the grid: for each example the masks on the image, a noise map for each object, and the caption.

    An example shows at most three objects, in the order given; more are counted in its small print. Text is drawn in
    Pillow's own typeface, which knows Latin letters.

    Raises:
        DataError: there is no example, an image is not H x W x 3 of bytes, or noise is not finite.
    """
    if not examples:
        raise DataError("there is no example to draw; label some captioned images first")
    for example in examples:
        if example.pixels.dtype != np.uint8 or example.pixels.ndim != 3 or example.pixels.shape[2] != 3:
            raise DataError(f"an image to draw is uint8 H x W x 3, not {example.pixels.dtype} {example.pixels.shape}")
    scale = _noise_scale(examples)
    # Landscape pictures are flat, so four parts beside one another; square and upright ones would tower, so six.
    shape = float(np.median([example.pixels.shape[0] / example.pixels.shape[1] for example in examples]))
    slots = 4 if shape < 0.9 else 6
    rows = [_draw_row(row, scale=scale, slots=slots, width=width - 2 * _MARGIN) for row in _pack(examples, slots=slots)]
    header = _draw_header(title, scale=scale, examples=examples, width=width - 2 * _MARGIN)
    strips = [header, *rows]
    page = Image.new("RGB", (width, sum(strip.height + _MARGIN for strip in strips) + _MARGIN // 2), PAGE)
    y = _MARGIN // 2
    for strip in strips:
        page.paste(strip, (_MARGIN, y))
        y += strip.height + (_MARGIN if strip is not header else _MARGIN // 2)
    return page.crop((0, 0, width, y))


def save_figure(examples: Sequence[PictureExample], path: str | Path, **options: Any) -> Path:
    """Draw the grid and write it as PNG; `options` are those of `draw_figure`.

    Raises:
        DataError: as `draw_figure`.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    draw_figure(examples, **options).save(target, format="PNG", optimize=True)
    return target


def colour_caption(caption: str, words: Sequence[str]) -> list[Word]:
    """Split a caption into words to draw; those that mention an object (also in the plural) take its colour."""
    colours: dict[int, int] = {}  # character -> object
    for index in sorted(range(len(words)), key=lambda number: -len(words[number])):  # "hot dog" before "dog"
        for match in _mention(words[index]).finditer(caption):
            for place in range(*match.span()):
                colours.setdefault(place, index)
    pieces = []
    for match in re.finditer(r"\S+", caption):
        # Punctuation stays black: "dogs," becomes two pieces without a gap.
        runs = itertools.groupby(range(*match.span()), key=colours.get)
        for part, (mentioned, places) in enumerate(runs):
            text = "".join(caption[place] for place in places)
            colour = INK if mentioned is None else object_colour(mentioned)
            pieces.append(Word(text=text, colour=colour, strong=mentioned is not None, glued=part > 0))
    return pieces


def _mention(word: str) -> re.Pattern[str]:
    stem = re.escape(word.strip()).replace(r"\ ", r"[\s-]+")
    forms = [stem + r"(?:s|es)?"]
    if word.endswith("y"):
        forms.append(stem[:-1] + "ies")
    if word.endswith(("f", "fe")):
        forms.append(stem.removesuffix("e")[:-1] + "ves")
    return re.compile(r"\b(?:" + "|".join(forms) + r")\b", re.IGNORECASE)


def _noise_scale(examples: Sequence[PictureExample]) -> _Scale | None:
    maps = [
        instance.noise.ravel() for example in examples for instance in _shown(example) if instance.noise is not None
    ]
    if not maps:
        return None
    if not all(np.isfinite(values).all() for values in maps):
        raise DataError("a noise map to draw is not finite")
    low, high = np.percentile(np.concatenate(maps), (1, 99))  # one odd pixel must not flatten all others
    return _Scale(low=float(low), high=float(high))


def _shown(example: PictureExample) -> Sequence[PictureInstance]:
    return example.instances[:_MAX_OBJECTS]


def _pack(examples: Sequence[PictureExample], *, slots: int) -> list[list[PictureExample]]:
    """Put examples in rows of at most `slots` parts; later ones move up where they fill a row best."""
    waiting = list(examples)
    rows = []
    while waiting:
        row = [waiting.pop(0)]
        while True:
            room = slots - sum(map(_num_slots, row))
            fitting = [place for place, item in enumerate(waiting) if _num_slots(item) <= room]
            if not fitting:
                break
            # Of equals the first.
            row.append(waiting.pop(max(fitting, key=lambda place: _num_slots(waiting[place]))))
        rows.append(row)
    return rows


def _num_slots(example: PictureExample) -> int:
    return 1 + len(_shown(example))


def _draw_row(row: Sequence[PictureExample], *, scale: _Scale | None, slots: int, width: int) -> Image.Image:
    num_slots = sum(map(_num_slots, row))
    spare = width - len(row) * 2 * _PADDING - (len(row) - 1) * _MARGIN - (num_slots - len(row)) * _GAP
    # A row that lacks one part is drawn larger, to fill the width; an emptier one keeps the size of a full row.
    slot = spare // num_slots
    if num_slots < slots - 1:
        slot = (width - _MARGIN - 4 * _PADDING - (slots - 2) * _GAP) // slots
    tallest = max(example.pixels.shape[0] / example.pixels.shape[1] for example in row)
    slot_height = round(slot * min(max(tallest, 0.5), 1.0))
    cards = [_draw_card(example, scale=scale, slot=slot, slot_height=slot_height) for example in row]
    strip = Image.new("RGB", (width, max(card.height for card in cards)), PAGE)
    x = 0
    for card in cards:
        card = _stretch(card, height=strip.height)
        strip.paste(card, (x, 0))
        x += card.width + _MARGIN
    return strip


def _stretch(card: Image.Image, *, height: int) -> Image.Image:
    framed = Image.new("RGB", (card.width, height), PAGE)
    draw = ImageDraw.Draw(framed)
    draw.rounded_rectangle((0, 0, card.width - 1, height - 1), radius=10, fill=CARD, outline=EDGE)
    inner = card.crop((_PADDING, _PADDING, card.width - _PADDING, card.height))
    framed.paste(inner.crop((0, 0, inner.width, min(inner.height, height - _PADDING - 2))), (_PADDING, _PADDING))
    return framed


def _draw_card(example: PictureExample, *, scale: _Scale | None, slot: int, slot_height: int) -> Image.Image:
    shown = _shown(example)
    width = 2 * _PADDING + _num_slots(example) * slot + len(shown) * _GAP
    words = colour_caption(example.caption, [instance.word for instance in shown])
    lines = wrap_words(words, width=width - 2 * _PADDING, size=_CAPTION, max_lines=3)
    caption_top = _PADDING + slot_height + _FOOT + 6
    card = Image.new("RGB", (width, caption_top + len(lines) * line_height(_CAPTION) + _PADDING - 2), CARD)
    draw = ImageDraw.Draw(card)
    view = fit(example.pixels, width=slot, height=slot_height)
    zoom = view.shape[1] / example.pixels.shape[1]
    _draw_masks(card, view, shown, zoom=zoom, slot=slot, slot_height=slot_height)
    hidden = len(example.instances) - len(shown)
    note = " · ".join(part for part in (example.note, f"{hidden} more not shown" if hidden else "") if part)
    draw.text((_PADDING, _PADDING + slot_height + 8), note, font=font(_SMALL - 1), fill=QUIET)
    for index, instance in enumerate(shown):
        x = _PADDING + (index + 1) * (slot + _GAP)
        _draw_noise(card, view, instance, index=index, x=x, zoom=zoom, slot=slot, slot_height=slot_height, scale=scale)
    draw_words(draw, lines, at=(_PADDING, caption_top), size=_CAPTION)
    return card


def _draw_masks(
    card: Image.Image, view: Pixels, shown: Sequence[PictureInstance], *, zoom: float, slot: int, slot_height: int
) -> None:
    x, y = _PADDING + (slot - view.shape[1]) // 2, _PADDING + (slot_height - view.shape[0]) // 2
    tags = []
    for index, instance in enumerate(shown):
        colour = object_colour(index)
        box = _scaled(instance.box_xyxy, zoom)
        view = blend_mask(view, instance.mask, box, colour=colour)
        tags.append((instance.word, _moved(box, x, y), colour))
    paste_rounded(card, view, at=(x, y))
    within = (float(x), float(y), float(x + view.shape[1]), float(y + view.shape[0]))
    place_tags(ImageDraw.Draw(card), tags, within=within)


def _draw_noise(
    card: Image.Image,
    view: Pixels,
    instance: PictureInstance,
    *,
    index: int,
    x: int,
    zoom: float,
    slot: int,
    slot_height: int,
    scale: _Scale | None,
) -> None:
    draw, colour = ImageDraw.Draw(card), object_colour(index)
    left, top = x + (slot - view.shape[1]) // 2, _PADDING + (slot_height - view.shape[0]) // 2
    box = _scaled(instance.box_xyxy, zoom)
    if instance.noise is not None and scale is not None:
        heated = blend_heat(view, instance.noise, box, low=scale.low, high=scale.high)
    else:
        heated = blend_mask(view, instance.mask, box, colour=colour)
    paste_rounded(card, heated, at=(left, top))
    corners = _moved(box, left, top)
    right, bottom = left + view.shape[1] - 1, top + view.shape[0] - 1
    sides = np.clip(corners, (left, top, left, top), (right, bottom, right, bottom)).tolist()  # it may lie outside
    draw.rectangle((sides[0], sides[1], max(sides[0], sides[2]), max(sides[1], sides[3])), outline=colour, width=2)
    foot = _PADDING + slot_height + 6
    draw.text((x, foot), instance.word, font=font(_SMALL), fill=colour, stroke_width=0.4)
    if instance.right is not None:
        after = x + font(_SMALL).getlength(instance.word) + 9
        draw_verdict(draw, at=(after, foot + 4), right=instance.right)
    if instance.reliability is not None:
        draw.text((x + slot, foot), f"{instance.reliability:.2f}", font=font(_SMALL), fill=INK, anchor="ra")
        draw_bar(draw, at=(x, foot + 24), width=slot, share=instance.reliability)


def _scaled(box: Box, zoom: float) -> Box:
    return box[0] * zoom, box[1] * zoom, box[2] * zoom, box[3] * zoom


def _moved(box: Box, x: float, y: float) -> Box:
    return box[0] + x, box[1] + y, box[2] + x, box[3] + y


def _draw_header(title: str, *, scale: _Scale | None, examples: Sequence[PictureExample], width: int) -> Image.Image:
    header = Image.new("RGB", (width, 50), PAGE)
    draw = ImageDraw.Draw(header)
    draw.text((0, 6), title, font=font(24), fill=INK, stroke_width=0.5)
    shown = [instance for example in examples for instance in _shown(example)]
    x = float(width)
    if scale is not None:
        bar = 170
        ramp = heat_colours(np.tile(np.linspace(0, 1, bar), (14, 1)))
        header.paste(Image.fromarray(ramp), (int(x) - bar, 24))
        for place, value, anchor in ((x - bar, scale.low, "la"), (x, scale.high, "ra")):
            draw.text((place, 5), f"{value:.2g}", font=font(_SMALL - 1), fill=QUIET, anchor=anchor)
        draw.text((x - bar - 10, 31), "pixel noise", font=font(_SMALL), fill=INK, anchor="rm")
        x -= bar + 10 + draw.textlength("pixel noise", font=font(_SMALL)) + 36
    if any(instance.reliability is not None for instance in shown):
        draw_bar(draw, at=(x - 110, 28), width=110, share=0.7)
        draw.text((x - 120, 31), "reliability", font=font(_SMALL), fill=INK, anchor="rm")
        x -= 120 + draw.textlength("reliability", font=font(_SMALL)) + 36
    if any(instance.right is not None for instance in shown):
        draw.text((x, 31), "right / wrong", font=font(_SMALL), fill=INK, anchor="rm")
        x -= draw.textlength("right / wrong", font=font(_SMALL)) + 44
        draw_verdict(draw, at=(x, 25), right=True)
        draw_verdict(draw, at=(x + 20, 25), right=False)
    return header
