"""Encoded images: fetched from where a label says they are, and decoded to the pixels as stored."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from xpm_stream.data.storage import explain, is_gone, locate, transport_errors
from xpm_stream.errors import DataError, ImageGone, SampleError
from xpm_stream.records import ImageInline, ImagePayload, ImageReference

MIN_SIDE: Final = 8  # pixels; smaller images are the web's tracking pixels and spacers
_FORMATS: Final = ("JPEG", "PNG", "WEBP")
# What Pillow's readers raise on damaged JPEG, PNG or WebP bytes.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)


def decode_image(data: bytes, *, max_pixels: int) -> npt.NDArray[np.uint8]:
    """Decode JPEG, PNG or WebP bytes to RGB pixels, H x W x 3, uint8, writable.

    The pixels are those stored: EXIF orientation is not applied, so boxes and masks are in stored-image pixels, as
    COCO's are. Grey, palette and CMYK images become RGB; transparency is laid on white; of an animation the first
    frame is taken; colour profiles are ignored; 16-bit samples keep their upper 8 bits.

    Raises:
        SampleError: with reason `image_broken` (not such a file, truncated, damaged), `image_too_large` (more than
            `max_pixels`) or `image_too_small` (a side under MIN_SIDE).
    """
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            _check_size(image.width, image.height, max_pixels)
            return to_rgb(image)
    except SampleError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise SampleError(f"the image is gigantic: {error}", reason="image_too_large") from error
    except _BROKEN as error:
        message = f"the image ({len(data)} bytes) cannot be decoded: {error or type(error).__name__}"
        raise SampleError(message, reason="image_broken") from error


def fetch_image(payload: ImagePayload) -> bytes:
    """Return the encoded image of a label message; safe to call from several threads.

    A reference is one ranged read through fsspec, which keeps and shares the connections.

    Raises:
        ImageGone: the shard is gone, or shorter than when it was labelled.
        DataError: it cannot be read.
    """
    if isinstance(payload, ImageInline):
        return payload.data
    filesystem, path = locate(payload.url)
    end = payload.offset + payload.size
    try:
        data = bytes(filesystem.cat_file(path, start=payload.offset, end=end))
    except transport_errors() as error:
        raise (ImageGone if is_gone(error) else DataError)(
            f"cannot read the image at bytes {payload.offset}-{end} of {payload.url}: {explain(error)}"
        ) from error
    if len(data) != payload.size:
        raise ImageGone(
            f"{payload.url} gave {len(data)} bytes for the {payload.size} of the image at byte {payload.offset}: "
            "the shard was cut or rewritten after it was labelled"
        )
    return data


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFetcher:
    """Fetches the images of label messages, none larger than a label may claim."""

    max_bytes: int

    def fetch(self, payload: ImagePayload) -> bytes:
        """Return the encoded image; safe to call from several threads.

        Raises:
            SampleError: with reason `image_too_large` (more than `max_bytes`), or `image_changed` (the bytes are not
                those that were labelled).
            DataError: the image cannot be fetched (see `fetch_image`).
        """
        size = payload.size if isinstance(payload, ImageReference) else len(payload.data)
        if size > self.max_bytes:
            message = f"the image has {size} bytes, above the limit of {self.max_bytes}"
            raise SampleError(message, reason="image_too_large")
        data = fetch_image(payload)
        if isinstance(payload, ImageReference) and payload.crc32 not in (None, zlib.crc32(data)):
            message = (
                f"bytes {payload.offset}-{payload.offset + payload.size} of {payload.url} are not those that were "
                "labelled: the shard was rewritten; its new content is a new shard, for `xpm-stream shards add`"
            )
            raise SampleError(message, reason="image_changed")
        return data


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        message = f"the image is {width} x {height} pixels, above the limit of {max_pixels}"
        raise SampleError(message, reason="image_too_large")
    if min(width, height) < MIN_SIDE:
        raise SampleError(f"the image is {width} x {height} pixels, under {MIN_SIDE} a side", reason="image_too_small")


def to_rgb(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Return an open image of any mode as RGB pixels, H x W x 3, as `decode_image` says."""
    if image.mode.startswith("I"):
        grey = np.array(image).astype(np.uint32) >> 8
        return np.repeat(grey.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return np.array(image.convert("RGB"), dtype=np.uint8)
