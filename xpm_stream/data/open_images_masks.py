"""The PNG masks of Open Images, decoded by several processes, each at its image's size."""

from __future__ import annotations

import io
import multiprocessing
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import Final

import numpy as np
from PIL import Image

from xpm_stream.data.base_set import DEFAULT_MAX_PIXELS
from xpm_stream.data.open_images_files import MaskRow, read_masks
from xpm_stream.data.storage import locate, read_bytes
from xpm_stream.errors import BaseSetError
from xpm_stream.masks import CocoRle, encode_rle, rle_area

MAX_MASK_BYTES: Final = 16 << 20
BROKEN_IMAGE: Final = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
_SAME_SHAPE: Final = 0.05  # by how much the aspect ratios of a mask and its image may differ


def decoded_masks(
    table: str,
    mask_files: str,
    *,
    sizes: Mapping[str, tuple[int, int]],
    labels: Container[str],
    workers: int,
    on_progress: Callable[[int], None] | None,
) -> Iterator[tuple[MaskRow, CocoRle | str]]:
    """Yield each mask at its image's size, or why it is left out.

    Args:
        table: of masks.
        mask_files: folder of the PNG files, all in it or in a folder for each first character.
        sizes: (width, height) of the images; masks of others are passed over.
        labels: masks of others are passed over.
        workers: processes that decode.
        on_progress: called with how many masks are decoded.

    Raises:
        BaseSetError: the table is wrong, or a file is missing or broken; the line is named.
    """
    rows = (row for row in read_masks(table) if row.label in labels and row.image in sizes)
    jobs = ((table, row, _mask_urls(mask_files, row.path), sizes[row.image]) for row in rows)
    with ExitStack() as stack:
        decoded: Iterable[tuple[MaskRow, CocoRle | str]]
        if workers > 1:
            pool = stack.enter_context(multiprocessing.get_context("forkserver").Pool(workers))
            decoded = pool.imap(_decode, jobs, chunksize=64)
        else:
            decoded = map(_decode, jobs)
        for count, one in enumerate(decoded, start=1):
            yield one
            if on_progress is not None:
                on_progress(count)


def _mask_urls(folder: str, name: str) -> tuple[str, str]:
    root = folder.rstrip("/")
    return f"{root}/{name}", f"{root}/{name[:1]}/{name}"


def _decode(job: tuple[str, MaskRow, tuple[str, str], tuple[int, int]]) -> tuple[MaskRow, CocoRle | str]:
    table, row, urls, size = job
    try:
        return row, _decoded(urls, size)
    except BaseSetError as error:
        raise BaseSetError(f"{table}, line {row.line}: {error}") from error


def _decoded(urls: tuple[str, str], image_size_wh: tuple[int, int]) -> CocoRle | str:
    """Return a mask at its image's size, or why it is left out."""
    width, height = image_size_wh
    data = _read_first(urls)
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if image.width * image.height > DEFAULT_MAX_PIXELS:
                raise BaseSetError(f"mask {urls[0]} has more than {DEFAULT_MAX_PIXELS} pixels")
            if abs(image.width * height / (image.height * width) - 1) > _SAME_SHAPE:
                return "masks of another shape than their image"
            # A mask may have another resolution than its image.
            grey = image.convert("L").resize((width, height), Image.Resampling.NEAREST)
    except BROKEN_IMAGE as error:
        raise BaseSetError(f"mask {urls[0]} cannot be decoded: {error}") from error
    rle = encode_rle(np.asarray(grey) > 0)
    return rle if rle_area(rle) else "empty masks"


def _read_first(urls: tuple[str, str]) -> bytes:
    for url in urls:
        filesystem, path = locate(url)
        if filesystem.exists(path):
            return read_bytes(url, what="mask", max_bytes=MAX_MASK_BYTES, error_class=BaseSetError)
    raise BaseSetError(f"there is no mask {urls[0]} (nor {urls[1]}); were all of its archives unpacked?")
