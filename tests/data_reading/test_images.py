from __future__ import annotations

import io
import os
import random
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

from xpm_stream.data.images import ImageFetcher, decode_image, fetch_image
from xpm_stream.errors import DataError, SampleError
from xpm_stream.records import ImageInline, ImageReference

MAX_PIXELS = 10_000_000


def encode(image: Image.Image, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def reason_of(data: bytes, *, max_pixels: int = MAX_PIXELS) -> str:
    with pytest.raises(SampleError) as caught:
        decode_image(data, max_pixels=max_pixels)
    return caught.value.reason


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK", "LA", "1"])
def test_every_kind_of_pixel_becomes_writable_rgb(image_format: str, mode: str) -> None:
    try:
        data = encode(Image.new("RGB", (20, 10), (200, 100, 50)).convert(mode), image_format)
    except OSError:
        return  # the format has no such pixels
    pixels = decode_image(data, max_pixels=MAX_PIXELS)
    assert pixels.shape == (10, 20, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable
    if mode in ("RGB", "RGBA", "CMYK"):
        assert np.abs(pixels.astype(int) - (200, 100, 50)).max() < 12


def test_transparency_is_laid_on_white() -> None:
    clear = Image.new("RGBA", (20, 10), (255, 0, 0, 0))
    assert (decode_image(encode(clear, "PNG"), max_pixels=MAX_PIXELS) == 255).all()
    palette = Image.new("P", (20, 10), 0)
    assert (decode_image(encode(palette, "PNG", transparency=0), max_pixels=MAX_PIXELS) == 255).all()
    palette_of_bytes = encode(palette, "PNG", transparency=b"\x00" * 4)
    assert (decode_image(palette_of_bytes, max_pixels=MAX_PIXELS) == 255).all()


def test_sixteen_bit_grey_keeps_its_brightness() -> None:
    grey = Image.fromarray(np.full((10, 20), 0x8000, dtype=np.uint16))
    assert (decode_image(encode(grey, "PNG"), max_pixels=MAX_PIXELS) == 128).all()


def test_pixels_are_as_stored_whatever_exif_says() -> None:
    image = Image.new("RGB", (20, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    assert decode_image(encode(image, "JPEG", exif=exif), max_pixels=MAX_PIXELS).shape == (10, 20, 3)


def test_of_an_animation_the_first_frame_is_taken() -> None:
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "blue")]
    data = encode(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert tuple(decode_image(data, max_pixels=MAX_PIXELS)[5, 5]) == (255, 0, 0)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"<html>not found</html>", b"\x89PNG\r\n\x1a\n", os.urandom(999)])
def test_what_is_no_image_is_broken(data: bytes) -> None:
    assert reason_of(data) == "image_broken"


@pytest.mark.parametrize("image_format", ["GIF", "BMP", "TIFF", "PPM"])
def test_formats_that_shards_do_not_hold_are_refused(image_format: str) -> None:
    assert reason_of(encode(Image.new("RGB", (20, 20)), image_format)) == "image_broken"


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_a_truncated_image_is_broken_wherever_it_was_cut(image_format: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    data = encode(noise, image_format)
    for cut in range(0, len(data) * 9 // 10, 97):
        assert reason_of(data[:cut]) == "image_broken", cut


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow on EXIF data
def test_damaged_bytes_give_pixels_or_a_reason_and_nothing_else(image_format: str) -> None:
    rng = random.Random(0)
    exif = Image.Exif()
    exif[0x010E] = "a description"
    image = Image.linear_gradient("L").resize((40, 30)).convert("P" if image_format == "PNG" else "RGB")
    data = encode(image, image_format, exif=exif)
    outcomes: set[str] = set()
    for _ in range(1500):
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 6)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        outcomes.add(outcome_of(bytes(damaged)))
    assert outcomes <= {"pixels", "image_broken", "image_too_large", "image_too_small"}
    assert len(outcomes) > 1


def outcome_of(data: bytes) -> str:
    try:
        decode_image(data, max_pixels=MAX_PIXELS)
    except SampleError as error:
        return error.reason
    return "pixels"


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG whose header claims a size, with next to no data."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [3_163, 11_000, 60_000])
def test_a_gigantic_image_is_refused_before_it_is_decoded(side: int) -> None:
    assert reason_of(png_that_claims(side, side)) == "image_too_large"


def test_an_image_at_the_pixel_limit_is_decoded_and_one_above_is_not() -> None:
    data = encode(Image.new("RGB", (20, 10)), "PNG")
    assert decode_image(data, max_pixels=200).shape == (10, 20, 3)
    assert reason_of(data, max_pixels=199) == "image_too_large"


@pytest.mark.parametrize("size", [(1, 1), (7, 500), (500, 7)])
def test_a_tracking_pixel_is_too_small(size: tuple[int, int]) -> None:
    assert reason_of(encode(Image.new("RGB", size), "PNG")) == "image_too_small"


def test_an_inline_image_is_the_message_s_bytes(jpeg: bytes) -> None:
    assert fetch_image(ImageInline(data=jpeg)) == jpeg


@pytest.mark.parametrize("store", ["file", "memory"])
def test_references_are_read_from_several_threads(tmp_path: Path, store: str) -> None:
    url = f"file://{tmp_path}/a.bin" if store == "file" else "memory://threads.bin"
    content = os.urandom(64 * 100)
    with fsspec.open(url, "wb") as file:
        file.write(content)
    references = [ImageReference(url=url, offset=100 * index, size=100) for index in range(64)]
    threads = 8 if store == "file" else 1  # the in-memory store itself is for one thread
    with ThreadPoolExecutor(threads) as pool:
        assert b"".join(pool.map(fetch_image, references)) == content


def test_a_shard_that_went_away_is_named() -> None:
    with pytest.raises(DataError, match=r"bytes 5-15 of /nowhere/a\.tar: no such file"):
        fetch_image(ImageReference(url="/nowhere/a.tar", offset=5, size=10))


def test_a_shard_that_became_shorter_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"12345")
    with pytest.raises(DataError, match="gave 2 bytes for the 10 of the image at byte 3"):
        fetch_image(ImageReference(url=str(tmp_path / "a.tar"), offset=3, size=10))


def test_a_reference_to_bytes_that_changed_is_refused(tmp_path: Path) -> None:
    path, fetcher = tmp_path / "a.tar", ImageFetcher(max_bytes=10)
    path.write_bytes(b"12345")
    reference = ImageReference(url=str(path), offset=1, size=3, crc32=zlib.crc32(b"234"))
    assert fetcher.fetch(reference) == b"234"
    path.write_bytes(b"12845")
    with pytest.raises(SampleError, match=r"bytes 1-4 of .*a\.tar are not those that were labelled") as caught:
        fetcher.fetch(reference)
    assert caught.value.reason == "image_changed"
    unchecked = ImageReference(url=str(path), offset=1, size=3)
    assert fetcher.fetch(unchecked) == b"284", "labels of before the checksum"


def test_a_reference_that_would_run_a_command_is_refused() -> None:
    with pytest.raises(DataError, match="would run a command"):
        fetch_image(ImageReference(url="pipe:cat /etc/hostname", offset=0, size=3))


def test_a_reference_larger_than_allowed_is_not_read(jpeg: bytes) -> None:
    fetcher = ImageFetcher(max_bytes=len(jpeg))
    assert fetcher.fetch(ImageInline(data=jpeg)) == jpeg
    with pytest.raises(SampleError) as caught:
        fetcher.fetch(ImageReference(url="/nowhere/a.tar", offset=0, size=len(jpeg) + 1))
    assert caught.value.reason == "image_too_large"
