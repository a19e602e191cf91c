"""A caption shard in which almost everything is wrong, one way each."""

from __future__ import annotations

import io
import struct
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

# reason -> how many samples of `write_bad_shard` are booked under it
REASONS = {"image_broken": 1, "image_too_large": 1, "caption_not_utf8": 1, "missing_caption": 1, "missing_image": 1}
NOUNLESS = 1
USABLE = 2  # one of them with a caption of 100 kB
SAMPLES = USABLE + NOUNLESS + sum(REASONS.values())
WHOLE_IN_TRUNCATED = 3


def jpeg(seed: int) -> bytes:
    """A picture of noise."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def gigantic_png(side: int = 60_000) -> bytes:
    """A few bytes that claim to be a picture of 3.6 gigapixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


def _tar(members: Sequence[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def write_bad_shard(path: Path) -> None:
    """Write the shard: SAMPLES samples, USABLE of them usable."""
    long_caption = ("a dog beside a red car under a tree, " * 3000)[:100_000].encode()
    assert len(long_caption) == 100_000
    path.write_bytes(
        _tar(
            [
                *[("a.jpg", jpeg(1)), ("a.txt", b"a dog and a cat")],
                *[("broken.jpg", jpeg(2)[:300]), ("broken.txt", b"a dog")],
                *[("gigantic.png", gigantic_png()), ("gigantic.txt", b"a dog")],
                *[("long.jpg", jpeg(3)), ("long.txt", long_caption)],
                *[("latin.jpg", jpeg(4)), ("latin.txt", "ein Hund über dem Café".encode("latin-1"))],
                *[("mute.jpg", jpeg(5))],
                *[("blind.txt", b"a dog")],
                *[("nounless.jpg", jpeg(6)), ("nounless.txt", b"very nice indeed")],
            ]
        )
    )


def write_truncated_shard(path: Path) -> None:
    """Write a shard cut in the image of its last sample: WHOLE_IN_TRUNCATED samples are whole."""
    members = [m for n in range(4) for m in ((f"{n}.jpg", jpeg(n)), (f"{n}.txt", b"a cat on a chair"))]
    whole = _tar(members)
    assert whole.count(b"3.jpg") == 1
    path.write_bytes(whole[: whole.index(b"3.jpg") + 512 + 100])
