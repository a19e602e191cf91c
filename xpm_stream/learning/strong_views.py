"""Strong views: colours shaken, perhaps grey or blurred, and rectangles cut out; boxes and masks stay where they are.

The photometric part follows Unbiased Teacher (Liu et al., ICLR 2021), which took it from SimCLR.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageFilter

Pixels = npt.NDArray[np.uint8]  # H x W x 3, RGB

_JITTER_PROBABILITY = 0.8
_JITTER = 0.4  # brightness, contrast and saturation change by up to this share
_GREY_PROBABILITY = 0.2
_BLUR_PROBABILITY = 0.5
_BLUR_SIGMA = (0.1, 2.0)  # pixels
_CUTOUTS = ((0.7, 0.2), (0.5, 0.1), (0.3, 0.05))  # probability, largest share of the image's area


def strong_view(pixels: Pixels, *, rng: np.random.Generator) -> Pixels:
    """Return a changed copy of the same size; `pixels` stays as it is."""
    picture = Image.fromarray(pixels)
    if rng.random() < _JITTER_PROBABILITY:
        for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            picture = enhance(picture).enhance(float(rng.uniform(1 - _JITTER, 1 + _JITTER)))
    if rng.random() < _GREY_PROBABILITY:
        picture = picture.convert("L").convert("RGB")
    if rng.random() < _BLUR_PROBABILITY:
        picture = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(*_BLUR_SIGMA))))
    view = np.array(picture)
    for probability, largest in _CUTOUTS:
        if rng.random() < probability:
            _cut_out(view, share=float(rng.uniform(0.2 * largest, largest)), rng=rng)
    return view


def _cut_out(view: Pixels, *, share: float, rng: np.random.Generator) -> None:
    height, width = view.shape[:2]
    aspect = float(np.exp(rng.uniform(np.log(0.3), np.log(3.3))))
    rows = max(1, min(height, round(np.sqrt(share * height * width * aspect))))
    columns = max(1, min(width, round(np.sqrt(share * height * width / aspect))))
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    view[top : top + rows, left : left + columns] = rng.integers(0, 256, (rows, columns, 3), dtype=np.uint8)
