from __future__ import annotations

import bz2
import gzip
import lzma
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from caption_tars import pair, tar_bytes

from xpm_stream.config.data_sections import DataConfig
from xpm_stream.data.tar_reading import ShardDamage, TarSample, read_samples

CONFIG = DataConfig()
# Images of 700 bytes: header, two blocks of data; captions: header, one block. Five blocks a sample.
SAMPLE_BYTES = 5 * 512
CONTENT = tar_bytes([member for index in range(4) for member in pair(str(index), image=os.urandom(700))])


def read_damaged(path: Path, content: bytes) -> tuple[list[TarSample], ShardDamage]:
    """Read a shard that must end in damage; also check that reading on from there finds the same damage."""
    path.write_bytes(content)
    *samples, damage = read_samples(str(path), config=CONFIG)
    assert isinstance(damage, ShardDamage)
    assert str(path) in damage.detail
    assert [sample.ordinal for sample in samples if isinstance(sample, TarSample)] == list(range(damage.ordinal))
    again = list(read_samples(str(path), config=CONFIG, start_offset=damage.offset, start_ordinal=damage.ordinal))
    if damage.offset:
        assert [record.ordinal for record in again if isinstance(record, ShardDamage)] == [damage.ordinal]
    return [sample for sample in samples if isinstance(sample, TarSample)], damage


def test_a_tar_cut_at_any_byte_gives_what_was_whole_and_says_that_it_was_cut(tmp_path: Path) -> None:
    whole = list(read_samples(_written(tmp_path / "whole.tar", CONTENT), config=CONFIG))
    for cut in range(1, 4 * SAMPLE_BYTES + 1, 61):
        samples, damage = read_damaged(tmp_path / "cut.tar", CONTENT[:cut])
        # A sample is whole when its last byte of caption is there: padding is not data.
        complete = (cut + SAMPLE_BYTES - 4 * 512 - len(b"a dog")) // SAMPLE_BYTES if cut > 2053 else 0
        assert len(samples) == complete, cut
        for sample, original in zip(samples, whole, strict=False):
            assert isinstance(original, TarSample)
            assert (sample.image, sample.captions) == (original.image, original.captions)
            assert sample.problem is None
        assert damage.reason == ("end_missing" if cut % SAMPLE_BYTES == 0 else damage.reason)
        assert damage.reason in ("truncated", "end_missing")


def _written(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize("blocks", range(21))
def test_a_tar_cut_between_blocks_loses_no_whole_sample(tmp_path: Path, blocks: int) -> None:
    if blocks == 0:
        return
    samples, damage = read_damaged(tmp_path / "cut.tar", CONTENT[: blocks * 512])
    assert len(samples) == blocks // 5
    assert damage.ordinal == blocks // 5
    assert damage.offset <= blocks * 512


def test_an_empty_file_is_not_a_tar(tmp_path: Path) -> None:
    samples, damage = read_damaged(tmp_path / "empty.tar", b"")
    assert (samples, damage.reason, damage.ordinal, damage.offset) == ([], "not_a_tar", 0, 0)


@pytest.mark.parametrize("content", [os.urandom(5000), gzip.compress(CONTENT), b"<html>404</html>" * 100])
def test_a_file_of_another_kind_is_not_a_tar(tmp_path: Path, content: bytes) -> None:
    samples, damage = read_damaged(tmp_path / "other.tar", content)
    assert (samples, damage.reason) == ([], "not_a_tar")


def test_an_empty_tar_has_no_samples_and_no_damage(tmp_path: Path) -> None:
    assert list(read_samples(_written(tmp_path / "a.tar", tar_bytes([])), config=CONFIG)) == []


@pytest.mark.parametrize("header", [0, 3])
def test_a_flipped_bit_in_a_header_is_not_taken_for_the_end(tmp_path: Path, header: int) -> None:
    content = bytearray(CONTENT)
    content[SAMPLE_BYTES + header * 512 + 3] ^= 1
    samples, damage = read_damaged(tmp_path / "a.tar", bytes(content))
    assert (len(samples), damage.reason, damage.ordinal) == (1, "header_damaged", 1)


def test_a_hole_of_zeros_is_not_taken_for_the_end(tmp_path: Path) -> None:
    content = bytearray(CONTENT)
    content[2 * SAMPLE_BYTES : 2 * SAMPLE_BYTES + 1536] = bytes(1536)
    samples, damage = read_damaged(tmp_path / "a.tar", bytes(content))
    assert (len(samples), damage.reason, damage.offset) == (2, "data_after_end", 2 * SAMPLE_BYTES)


def test_an_unclosed_tar_gives_all_its_samples(tmp_path: Path) -> None:
    samples, damage = read_damaged(tmp_path / "a.tar", CONTENT[: 4 * SAMPLE_BYTES])
    assert (len(samples), damage.reason) == (4, "end_missing")


@pytest.mark.parametrize(
    ("size_field", "reason"),
    [(b"\xff" + b"\xff" * 11, "header_damaged"), (b"\x80" + b"\x00" * 7 + b"\x7f" * 4, "truncated")],
)
def test_an_impossible_size_is_damage(tmp_path: Path, size_field: bytes, reason: str) -> None:
    content = bytearray(CONTENT)
    header = content[SAMPLE_BYTES : SAMPLE_BYTES + 512]
    header[124:136] = size_field
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    content[SAMPLE_BYTES : SAMPLE_BYTES + 512] = header
    if reason == "truncated":  # an image too large to be read is passed over, beyond the end of the file
        records = list(read_samples(_written(tmp_path / "a.tar", bytes(content)), config=CONFIG))
        assert isinstance(records[-1], ShardDamage)
        assert records[-1].reason == reason
    else:
        assert read_damaged(tmp_path / "a.tar", bytes(content))[1].reason == reason


@pytest.mark.parametrize("kind", [b"x", b"L"])
def test_a_gigantic_or_torn_extended_header_is_damage(tmp_path: Path, kind: bytes) -> None:
    for size in (5, 1 << 40):
        header = bytearray(512)
        header[:5] = b"./@LL"
        header[124:136] = b"\x80" + size.to_bytes(11, "big")
        header[156:157] = kind
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        body = b"\xff\xff=zz".ljust(512, b"\0")
        content = CONTENT[:SAMPLE_BYTES] + bytes(header) + body + bytes(1024)
        samples, damage = read_damaged(tmp_path / "a.tar", content)
        assert (len(samples), damage.reason) == (1, "header_damaged")


@pytest.mark.parametrize(
    ("name", "compress"), [("a.tar.gz", gzip.compress), ("a.tar.bz2", bz2.compress), ("a.tar.xz", lzma.compress)]
)
def test_a_compressed_shard_that_is_cut_or_flipped_ends_in_damage(
    tmp_path: Path, name: str, compress: Callable[[bytes], bytes]
) -> None:
    content = tar_bytes([member for index in range(300) for member in pair(str(index), image=os.urandom(3000))])
    packed = compress(content)
    for cut in (5, len(packed) // 2, len(packed) - 5):
        _, damage = read_damaged(tmp_path / name, packed[:cut])
        assert damage.reason in ("truncated", "compression_broken"), cut
    flipped = bytearray(packed)
    flipped[len(packed) // 2] ^= 0xFF
    _, damage = read_damaged(tmp_path / name, bytes(flipped))
    # bz2 garbles a whole block, from its first header on; gzip and xz decode a while into the flipped byte.
    assert damage.reason in ("compression_broken", "header_damaged", "truncated", "not_a_tar")
    _, damage = read_damaged(tmp_path / name, CONTENT)
    assert damage.reason == "compression_broken"
