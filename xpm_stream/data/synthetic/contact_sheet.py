"""Contact sheets for the documentation: `python -m xpm_stream.data.synthetic.contact_sheet docs/images`."""

from __future__ import annotations

import argparse
import io
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from pycocotools import mask as coco_mask

from xpm_stream.data.synthetic.catalog import BASE_ORDER, TARGET_ORDER, UNANNOTATED_ORDER
from xpm_stream.data.synthetic.corpus_config import PRESETS, SyntheticConfig
from xpm_stream.data.synthetic.palette import Colour
from xpm_stream.data.synthetic.samples import DrawnSample, draw_sample
from xpm_stream.data.synthetic.scene import draw_object

_SCALE = 2  # sheets are read on dense screens
_WHITE: Colour = (255, 255, 255)
_TEXT: Colour = (40, 40, 46)
_ROLES: dict[str, Colour] = {"base": (45, 105, 190), "target": (200, 60, 50), "unannotated": (120, 120, 125)}
_MASKS: Sequence[Colour] = ((230, 60, 60), (60, 130, 230), (70, 180, 80), (240, 170, 40), (160, 80, 200))


def draw_class_sheet(config: SyntheticConfig, *, columns: int = 10, cell_px: int = 96, seed: int = 0) -> Image.Image:
    """Every class of the catalog twice, its word coloured by role: base blue, target red, never annotated grey."""
    words = [(word, "base") for word in BASE_ORDER]
    words += [(word, "target") for word in TARGET_ORDER] + [(word, "unannotated") for word in UNANNOTATED_ORDER]
    cell_w, cell_h = cell_px * _SCALE, round(cell_px * 0.78) * _SCALE
    rows = -(-len(words) // columns)
    sheet = Image.new("RGB", (columns * cell_w, rows * cell_h), (246, 245, 242))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11 * _SCALE)
    for number, (word, role) in enumerate(words):
        left, top = number % columns * cell_w, number // columns * cell_h
        for half in range(2):
            rng = np.random.default_rng([seed, number, half])
            fixed = config.model_copy(update={"object_scale": (0.5, 0.5)})
            patch = Image.fromarray(draw_object(word, config=fixed, side_px=round(cell_px * 0.9) * _SCALE, rng=rng))
            patch.thumbnail((cell_w // 2 - 6, cell_h - 17 * _SCALE))
            x = left + half * cell_w // 2 + (cell_w // 2 - patch.width) // 2
            sheet.paste(patch, (x, top + 3 * _SCALE + (cell_h - 18 * _SCALE - patch.height) // 2), patch)
        middle = (left + cell_w // 2, top + cell_h - 8 * _SCALE)
        pen.text(middle, word, fill=_ROLES[role], font=font, anchor="mm")
    return sheet


def draw_caption_sheet(
    config: SyntheticConfig, *, columns: int = 5, rows: int = 3, cell_px: int = 170, seed: int = 0
) -> Image.Image:
    """Caption images with the true masks' outlines and the first caption."""
    cell, text_h = cell_px * _SCALE, 46 * _SCALE
    sheet = Image.new("RGB", (columns * cell, rows * (cell + text_h)), _WHITE)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11 * _SCALE)
    for number in range(columns * rows):
        sample = draw_sample(config, seed=seed, part="captions", index=number)
        picture = _outlined(sample)
        picture.thumbnail((cell - 6 * _SCALE, cell - 6 * _SCALE))
        left, top = number % columns * cell, number // columns * (cell + text_h)
        sheet.paste(picture, (left + (cell - picture.width) // 2, top + 3 * _SCALE))
        lines = textwrap.wrap(sample.captions[0].text, cell_px // 6)[:3]
        pen.text((left + 6 * _SCALE, top + cell), "\n".join(lines), fill=_TEXT, font=font)
    return sheet


def _outlined(sample: DrawnSample) -> Image.Image:
    """The picture, twice as large, with a coloured line along the edge of each visible mask."""
    picture = Image.open(io.BytesIO(sample.jpeg)).convert("RGB")
    width, height = picture.width * _SCALE, picture.height * _SCALE
    pixels = np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS)).copy()
    for number, item in enumerate(sample.instances):
        rle = {"size": [picture.height, picture.width], "counts": item.counts.encode("ascii")}
        inside = np.kron(coco_mask.decode(rle), np.ones((_SCALE, _SCALE), np.uint8)).astype(bool)
        pixels[inside & ~_shrunk(inside)] = _MASKS[number % len(_MASKS)]
    return Image.fromarray(pixels)


def _shrunk(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    inner = mask.copy()
    inner[1:] &= mask[:-1]
    inner[:-1] &= mask[1:]
    inner[:, 1:] &= mask[:, :-1]
    inner[:, :-1] &= mask[:, 1:]
    return inner


def _few_colours(sheet: Image.Image) -> Image.Image:
    """256 colours are enough for drawings and keep the repository small; paper, text and outlines keep theirs."""
    kept = [_WHITE, _TEXT, *_MASKS]
    common = sheet.quantize(256 - len(kept)).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([*common[: 3 * (256 - len(kept))], *(channel for colour in kept for channel in colour)])
    return sheet.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)


def main() -> None:
    """Write synthetic_classes.png, synthetic_corpus.png and synthetic_sketch.png."""
    parser = argparse.ArgumentParser(description="contact sheets of the synthetic corpus")
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    config = PRESETS["quickstart"].model_copy(update={"image_size": 192})
    sketch = config.model_copy(update={"style": "sketch"})
    sheets = {
        "synthetic_classes": draw_class_sheet(config),
        "synthetic_corpus": draw_caption_sheet(config),
        "synthetic_sketch": draw_caption_sheet(sketch, rows=1),
    }
    for name, sheet in sheets.items():
        _few_colours(sheet).save(folder / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
