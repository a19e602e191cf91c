"""The pseudo masks a teacher trusts most and least, with their noise, as pictures that sit inside a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

from xpm_stream.monitoring.picture_parts import Box, Pixels, blend_heat, blend_mask, fit, heat_colours, object_colour
from xpm_stream.monitoring.pictures import PictureExample, PictureInstance

_WIDTH, _HEIGHT = 360, 270  # pixels of one picture, at most
_QUALITY: Final = 84  # of JPEG
_LONGEST_CAPTION: Final = 200  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskPicture:
    """One pseudo-labelled object."""

    word: str
    reliability: float  # 0..1
    caption: str
    sample: str  # key of the image in its shard
    masked: str  # data URI: the image with the mask
    noise: str | None  # data URI: the noise map; None: the method gives none


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskPictures:
    """The best and the worst of those looked at."""

    best: Sequence[MaskPicture]
    worst: Sequence[MaskPicture]  # worst first
    num_images: int  # looked at
    num_objects: int  # with a reliability
    noise_ends: tuple[float, float] | None  # the colours' ends, the same in all noise maps
    noise_ramp: str | None  # data URI: the colours from low to high


def best_and_worst(examples: Sequence[PictureExample], *, each: int = 4) -> MaskPictures:
    """Return the `each` most and least reliable objects, one of an image; none is both."""
    ranked = sorted(
        (
            (instance.reliability, place, instance)
            for place, example in enumerate(examples)
            for instance in example.instances
            if instance.reliability is not None
        ),
        key=lambda one: (-one[0], one[1]),
    )
    objects = [(examples[place], instance) for _, place, instance in ranked]
    best = _one_of_an_image(objects, each=each, taken=[])
    worst = _one_of_an_image(objects[::-1], each=each, taken=[example for example, _ in best])
    ends = _noise_ends(instance for _, instance in (*best, *worst))
    return MaskPictures(
        best=[_picture(*one, ends=ends) for one in best],
        worst=[_picture(*one, ends=ends) for one in worst],
        num_images=len(examples),
        num_objects=len(objects),
        noise_ends=ends,
        noise_ramp=None if ends is None else data_uri(heat_colours(np.tile(np.linspace(0, 1, 160), (10, 1)))),
    )


def data_uri(pixels: Pixels) -> str:
    """Return an image [H, W, 3] as a `data:` URI."""
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.getvalue()).decode('ascii')}"


def _one_of_an_image(
    objects: Sequence[tuple[PictureExample, PictureInstance]], *, each: int, taken: Sequence[PictureExample]
) -> list[tuple[PictureExample, PictureInstance]]:
    found: list[tuple[PictureExample, PictureInstance]] = []
    seen = {id(example) for example in taken}
    for example, instance in objects:
        if len(found) < each and id(example) not in seen:
            seen.add(id(example))
            found.append((example, instance))
    return found


def _noise_ends(instances: Iterable[PictureInstance]) -> tuple[float, float] | None:
    maps = [instance.noise.ravel() for instance in instances if instance.noise is not None]
    if not maps:
        return None
    low, high = np.percentile(np.concatenate(maps), (1, 99))  # one odd pixel must not flatten all others
    return float(low), float(high)


def _picture(example: PictureExample, instance: PictureInstance, *, ends: tuple[float, float] | None) -> MaskPicture:
    view = fit(example.pixels, width=_WIDTH, height=_HEIGHT)
    zoom = view.shape[1] / example.pixels.shape[1]
    x0, y0, x1, y1 = (side * zoom for side in instance.box_xyxy)
    box: Box = (x0, y0, x1, y1)
    noise = None
    if instance.noise is not None and ends is not None:
        noise = data_uri(blend_heat(view, instance.noise, box, low=ends[0], high=ends[1]))
    assert instance.reliability is not None
    caption = example.caption
    return MaskPicture(
        word=instance.word,
        reliability=instance.reliability,
        caption=caption if len(caption) <= _LONGEST_CAPTION else caption[: _LONGEST_CAPTION - 1] + "…",
        sample=example.note,
        masked=data_uri(blend_mask(view, instance.mask, box, colour=object_colour(0))),
        noise=noise,
    )
