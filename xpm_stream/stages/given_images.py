"""Images as people have them (files, URLs, Pillow, NumPy, torch) as the RGB pixels a network is given."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps

from xpm_stream.data.images import to_rgb
from xpm_stream.data.storage import read_bytes
from xpm_stream.errors import DataError

Pixels = npt.NDArray[np.uint8]  # H x W x 3, RGB
GivenImage = str | Path | Image.Image | npt.NDArray[Any] | torch.Tensor

_FORMATS: Final = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # none that starts another program
_MAX_FILE_BYTES: Final = 1 << 30


def name_of(image: GivenImage) -> str | None:
    """Return the path or URL of an image, or of the file Pillow opened; none for pixels."""
    if isinstance(image, str | Path):
        return str(image)
    name = getattr(image, "filename", None)
    return str(name) if name else None


def pixels_of(image: GivenImage, *, max_pixels: int) -> Pixels:
    """Return the pixels of an image, H x W x 3, RGB, uint8.

    Args:
        image: a path or fsspec URL (JPEG, PNG, WebP, BMP, GIF, TIFF, PPM; the first frame), a Pillow image of any mode
            but F, a NumPy array (uint8, H x W x 3 in RGB order, H x W x 4, H x W x 1 or H x W), or a torch tensor
            (C x H x W with 1, 3 or 4 channels, float 0..1 or uint8, on any device). Files and Pillow images are turned
            upright as their EXIF orientation says; transparency is laid on white.
        max_pixels: a larger image is refused.

    Raises:
        DataError: it is none of these, cannot be read, or is too large.
    """
    if isinstance(image, str | Path):
        return _of_file(str(image), max_pixels=max_pixels)
    if isinstance(image, Image.Image):
        return _upright(image, what="the Pillow image", max_pixels=max_pixels)
    if isinstance(image, torch.Tensor):
        array = _of_tensor(image)
    elif isinstance(image, np.ndarray):
        array = _checked(image)
    else:
        raise DataError(
            f"an image is a path, a URL, a Pillow image, a NumPy array or a torch tensor, not {type(image).__name__}"
        )
    _require_size(array.shape[1], array.shape[0], what="the image", max_pixels=max_pixels)
    if array.ndim == 2 or array.shape[2] == 1:
        return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    return np.ascontiguousarray(array) if array.shape[2] == 3 else to_rgb(Image.fromarray(array, "RGBA"))


def _of_file(url: str, *, max_pixels: int) -> Pixels:
    data = read_bytes(url, what="image", max_bytes=_MAX_FILE_BYTES)
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            return _upright(image, what=url, max_pixels=max_pixels)
    except DataError:
        raise
    # Pillow's readers raise many kinds of error on damaged bytes; each means the same here.
    except Exception as error:
        raise DataError(f"image {url} cannot be decoded: {error or type(error).__name__}") from error


def _upright(image: Image.Image, *, what: str, max_pixels: int) -> Pixels:
    _require_size(image.width, image.height, what=what, max_pixels=max_pixels)
    if image.mode == "F":  # Pillow would take it as 0..255: 0..1 would be black
        raise DataError(f"{what} holds floats, whose range nothing says: give uint8 (0..255)")
    return to_rgb(ImageOps.exif_transpose(image))


def _of_tensor(tensor: torch.Tensor) -> Pixels:
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 3, 4):
        raise DataError(
            f"an image tensor is C x H x W with 1, 3 or 4 channels, not {_shape(tensor.shape)}: give a batch as a list"
        )
    if tensor.dtype == torch.uint8:
        values = tensor
    elif tensor.is_floating_point():
        tensor = tensor.detach()
        low, high = (float(tensor.min()), float(tensor.max())) if tensor.numel() else (0.0, 0.0)
        if not 0.0 <= low <= high <= 1.0:
            raise DataError(
                f"a float image tensor holds 0..1, this one {low:.3g}..{high:.3g}: give pixels that are not "
                "normalised, or uint8"
            )
        values = (tensor.float() * 255).round().to(torch.uint8)
    else:
        raise DataError(f"an image tensor is float (0..1) or uint8, not {tensor.dtype}")
    array: Pixels = values.cpu().permute(1, 2, 0).numpy()
    return array


def _checked(array: npt.NDArray[Any]) -> Pixels:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise DataError(
            f"an image array is H x W x 3 (RGB), H x W x 4, H x W x 1 or H x W, not {_shape(array.shape)}: give a "
            "batch as a list, and channels last"
        )
    if array.dtype != np.uint8:
        raise DataError(f"an image array is uint8 (0..255), not {array.dtype}")
    return array


def _require_size(width: int, height: int, *, what: str, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise DataError(f"{what} is empty: {width} x {height} pixels")
    if width * height > max_pixels:
        raise DataError(f"{what} is {width} x {height} pixels, above the limit of {max_pixels} (data.max_image_pixels)")


def _shape(shape: Any) -> str:
    return " x ".join(map(str, shape)) or "a number"
