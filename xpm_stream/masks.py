"""Masks as bits, grids, images and COCO RLE. No torch.

A pseudo mask lives on the RoI grid of its box (MASK_GRID x MASK_GRID cells, row-major). For XPM's loss that grid *is*
the supervision (Eq. 5), so its bits are lossless; everything in image pixels is derived from it here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypedDict

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from xpm_stream.errors import DataError
from xpm_stream.records import MASK_GRID

MASK_BYTES: Final = MASK_GRID * MASK_GRID // 8  # 98 bytes

Box = tuple[float, float, float, float] | npt.NDArray[np.floating[Any]]  # xyxy, pixels


class CocoRle(TypedDict):
    """A binary mask as COCO stores it: column-major run lengths, compressed to ASCII."""

    size: list[int]  # height, width
    counts: str


def pack_mask_bits(grid: npt.NDArray[Any]) -> bytes:
    """Pack a RoI-grid mask [MASK_GRID, MASK_GRID] into MASK_BYTES bytes: row-major, most significant bit first.

    Raises:
        DataError: the grid has another shape, or values other than 0 and 1 (threshold probabilities first).
    """
    if grid.shape != (MASK_GRID, MASK_GRID):
        raise DataError(f"a mask grid is {MASK_GRID}x{MASK_GRID}, not {'x'.join(map(str, grid.shape))}")
    if grid.dtype != np.bool_ and not np.isin(grid, (0, 1)).all():
        raise DataError("a mask grid holds 0 and 1 only: threshold probabilities (>= 0.5) before packing")
    return np.packbits(grid.astype(np.bool_), axis=None, bitorder="big").tobytes()


def unpack_mask_bits(bits: bytes) -> npt.NDArray[np.uint8]:
    """Return the RoI-grid mask [MASK_GRID, MASK_GRID] of 0 and 1 that `pack_mask_bits` packed.

    Raises:
        DataError: `bits` is not MASK_BYTES long.
    """
    if len(bits) != MASK_BYTES:
        raise DataError(f"mask bits are {MASK_BYTES} bytes ({MASK_GRID}x{MASK_GRID} cells), not {len(bits)}")
    return np.unpackbits(np.frombuffer(bits, dtype=np.uint8), bitorder="big").reshape(MASK_GRID, MASK_GRID)


def unpack_many_mask_bits(many: Sequence[bytes]) -> npt.NDArray[np.uint8]:
    """Unpack N masks at once: uint8 [N, MASK_GRID, MASK_GRID]; N may be 0.

    Raises:
        DataError: one of them is not MASK_BYTES long.
    """
    for bits in many:
        if len(bits) != MASK_BYTES:
            raise DataError(f"mask bits are {MASK_BYTES} bytes ({MASK_GRID}x{MASK_GRID} cells), not {len(bits)}")
    flat = np.frombuffer(b"".join(many), dtype=np.uint8).reshape(len(many), MASK_BYTES)
    return np.unpackbits(flat, axis=1, bitorder="big").reshape(len(many), MASK_GRID, MASK_GRID)


def flip_mask_bits_horizontally(bits: bytes) -> bytes:
    """Mirror a packed mask left to right, for a mirrored image (the box is mirrored by the caller).

    Raises:
        DataError: `bits` is not MASK_BYTES long.
    """
    return pack_mask_bits(unpack_mask_bits(bits)[:, ::-1])


def paste_roi_mask(
    grid: npt.NDArray[Any],
    box_xyxy: Box,
    *,
    height: int,
    width: int,
    threshold: float = 0.5,
) -> npt.NDArray[np.bool_]:
    """Paste a RoI grid of probabilities (or bits) [g, g] over its box and threshold it: bool [height, width].

    Samples the grid bilinearly at pixel centres, zero outside, as detectron2's `paste_masks_in_image` does.

    Raises:
        DataError: the grid is not two-dimensional.
    """
    pasted = np.zeros((height, width), dtype=np.bool_, order="F")  # column-major: RLE encoding then needs no copy
    window, values = sample_roi_grid(grid, box_xyxy, height=height, width=width)
    pasted[window] = values >= threshold
    return pasted


def sample_roi_grid(
    grid: npt.NDArray[Any],
    box_xyxy: Box,
    *,
    height: int,
    width: int,
    extend_edges: bool = False,
) -> tuple[tuple[slice, slice], npt.NDArray[np.float32]]:
    """Resample a RoI grid [g, g] at the pixels whose centres lie in its box.

    Returns the window (rows, columns) of the image and the values in it, float32 [window height, window width]; both
    are empty for a box without area or outside the image. Beyond the outermost cell centres values fall to zero, or
    stay as they are with `extend_edges`.

    Raises:
        DataError: the grid is not two-dimensional.
    """
    if grid.ndim != 2:
        raise DataError(f"a RoI grid has two dimensions, not {grid.ndim}")
    x0, y0, x1, y1 = (float(side) for side in box_xyxy)
    rows, row_weights = _hat_weights(y0, y1, cells=grid.shape[0], pixels=height, extend_edges=extend_edges)
    columns, column_weights = _hat_weights(x0, x1, cells=grid.shape[1], pixels=width, extend_edges=extend_edges)
    # Bilinear sampling is separable: two thin matrix products instead of a gather for each pixel.
    return (rows, columns), row_weights @ grid.astype(np.float32) @ column_weights.T


def _hat_weights(
    start: float, end: float, *, cells: int, pixels: int, extend_edges: bool
) -> tuple[slice, npt.NDArray[np.float32]]:
    if not (np.isfinite(start) and np.isfinite(end)) or end <= start:
        return slice(0, 0), np.zeros((0, cells), dtype=np.float32)
    first = int(np.clip(np.ceil(start - 0.5), 0, pixels))
    last = int(np.clip(np.ceil(end - 0.5), first, pixels))
    centres = np.arange(first, last, dtype=np.float64) + 0.5
    positions = (centres - start) / (end - start) * cells - 0.5
    if extend_edges:
        positions = np.clip(positions, 0, cells - 1)
    distance = np.abs(positions[:, None] - np.arange(cells))
    return slice(first, last), np.clip(1.0 - distance, 0.0, None).astype(np.float32)


def encode_rle(mask: npt.NDArray[Any]) -> CocoRle:
    """Encode a binary mask [height, width] as COCO RLE with JSON-able counts.

    Raises:
        DataError: the mask is not two-dimensional.
    """
    if mask.ndim != 2:
        raise DataError(f"a mask has two dimensions, not {mask.ndim}")
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.bool_, copy=False)).view(np.uint8))
    return {"size": [int(side) for side in encoded["size"]], "counts": encoded["counts"].decode("ascii")}


def paste_to_rles(
    grids: npt.NDArray[Any], boxes_xyxy: npt.NDArray[np.floating[Any]], *, height: int, width: int
) -> list[CocoRle]:
    """Paste N RoI grids of probabilities [N, g, g] over their boxes [N, 4]; N may be 0.

    Raises:
        DataError: the two differ in number.
    """
    if len(grids) != len(boxes_xyxy):
        raise DataError(f"{len(grids)} mask grids and {len(boxes_xyxy)} boxes do not pair up")
    pairs = zip(grids, boxes_xyxy, strict=True)
    return [encode_rle(paste_roi_mask(grid, box, height=height, width=width)) for grid, box in pairs]


def decode_rle(rle: CocoRle) -> npt.NDArray[np.uint8]:
    """Return the mask of 0 and 1 [height, width] that a COCO RLE holds."""
    decoded: npt.NDArray[np.uint8] = coco_mask.decode(rle)
    return decoded


def segmentation_to_rle(segmentation: Any, *, height: int, width: int) -> CocoRle:
    """Encode any COCO segmentation: a list of polygons, uncompressed RLE, or RLE.

    Raises:
        DataError: it is none of these.
    """
    if isinstance(segmentation, list) and segmentation:
        merged = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation, dict) and isinstance(segmentation.get("counts"), list):
        merged = coco_mask.frPyObjects(segmentation, height, width)
    elif isinstance(segmentation, dict) and isinstance(segmentation.get("counts"), (str, bytes)):
        merged = segmentation
    else:
        raise DataError(
            f"a segmentation is a list of polygons or an RLE, not {type(segmentation).__name__} "
            "(or it is empty): remove the annotation or give it a mask"
        )
    counts = merged["counts"]
    return {
        "size": [int(side) for side in merged["size"]],
        "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts,
    }


def rle_area(rle: CocoRle) -> int:
    """Return the number of pixels of a mask without decoding it."""
    return int(coco_mask.area(rle))
