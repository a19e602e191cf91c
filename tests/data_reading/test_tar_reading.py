from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import subprocess
import sys
import tarfile
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest
from caption_tars import pair, tar_bytes
from fsspec.compression import compr

import xpm_stream.data
from xpm_stream.config.data_sections import DataConfig
from xpm_stream.data.images import fetch_image
from xpm_stream.data.tar_reading import SAMPLE_REASONS, ShardDamage, TarSample, read_samples
from xpm_stream.errors import ShardError

CONFIG = DataConfig()


def read(url: str, **changes: object) -> list[TarSample]:
    """Read a shard that has no damage."""
    records = list(read_samples(url, config=CONFIG.model_copy(update=changes)))
    assert all(isinstance(record, TarSample) for record in records), records
    return records  # type: ignore[return-value]


def reasons(url: str, **changes: object) -> list[str | None]:
    return [sample.problem.reason if sample.problem else None for sample in read(url, **changes)]


@pytest.mark.parametrize("extension", ["jpg", "jpeg", "png", "webp", "JPG"])
def test_an_image_and_its_text_are_one_sample(write_tar: Callable[..., str], extension: str) -> None:
    [sample] = read(write_tar([(f"cat.{extension}", b"image"), ("cat.txt", b"a cat")]))
    assert (sample.key, sample.image, sample.captions, sample.problem) == ("cat", b"image", ["a cat"], None)


def test_each_line_of_the_text_is_a_caption(write_tar: Callable[..., str]) -> None:
    [sample] = read(write_tar([("a.jpg", b"x"), ("a.txt", "\ufeffa  cat\r\n\n on a mat \n".encode())]))
    assert sample.captions == ["a cat", "on a mat"]


@pytest.mark.parametrize(
    ("value", "captions"),
    [("a cat", ["a cat"]), (["a cat", "a mat", "a cat"], ["a cat", "a mat"]), (["a\ncat"], ["a", "cat"])],
)
def test_captions_come_from_the_configured_field_of_the_json(
    write_tar: Callable[..., str], value: object, captions: list[str]
) -> None:
    url = write_tar([("a.jpg", b"x"), ("a.json", json.dumps({"alt": value, "caption": "no"}).encode())])
    assert read(url, caption_field="alt")[0].captions == captions


def test_text_and_json_add_up_and_what_stands_in_both_counts_once(write_tar: Callable[..., str]) -> None:
    fields = {"caption": "a  cat", "similarity": float("nan")}  # pandas leaves NaN in img2dataset's JSON
    url = write_tar([("a.jpg", b"x"), ("a.json", json.dumps(fields).encode()), ("a.txt", b"a cat\na mat")])
    assert read(url)[0].captions == ["a cat", "a mat"]


def test_long_captions_and_many_captions_are_cut_and_counted(write_tar: Callable[..., str]) -> None:
    text = b"\n".join([b"dog " * 25_000, b"cat", b"cow"])
    [sample] = read(write_tar([("a.jpg", b"x"), ("a.txt", text)]), max_captions=2, max_caption_chars=100)
    assert [len(caption) for caption in sample.captions] == [100, 3]
    assert (sample.captions_cut, sample.captions_left_out) == (1, 1)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("a.txt", b"a cat")], "missing_image"),
        ([("a.cls", b"3"), ("a.seg.png", b"x")], "missing_image"),
        ([("a.jpg", b"x")], "missing_caption"),
        ([("a.jpg", b"x"), ("a.txt", b" \n ")], "missing_caption"),
        ([("a.jpg", b"x"), ("a.json", b'{"caption": null}')], "missing_caption"),
        ([("a.jpg", b"x"), ("a.txt", b"caf\xe9")], "caption_not_utf8"),
        ([("a.jpg", b"x"), ("a.json", b'{"caption": "\\ud800"}')], "caption_not_utf8"),
        ([("a.jpg", b"x"), ("a.json", b'{"caption": ')], "json_invalid"),
        ([("a.jpg", b"x"), ("a.json", b"[" * 100_000)], "json_invalid"),
        ([("a.jpg", b"x"), ("a.json", b"[1]")], "json_invalid"),
        ([("a.jpg", b"x"), ("a.json", b'{"caption": 7}')], "json_invalid"),
        ([("a.jpg", b"x"), ("a.txt", b"x" * ((1 << 20) + 1))], "text_too_large"),
        ([("a.jpg", b"x" * 1001), ("a.txt", b"a cat")], "image_too_large"),
    ],
)
def test_an_unusable_sample_is_given_with_its_reason_and_keeps_its_ordinal(
    write_tar: Callable[..., str], members: list[tuple[str, bytes]], reason: str
) -> None:
    url = write_tar([*pair("0"), *members, *pair("z")])
    assert reasons(url, max_image_bytes=1000) == [None, reason, None]
    assert [sample.ordinal for sample in read(url, max_image_bytes=1000)] == [0, 1, 2]
    assert reason in SAMPLE_REASONS


def test_an_image_at_the_byte_limit_is_taken(write_tar: Callable[..., str]) -> None:
    assert reasons(write_tar(pair("a", image=b"x" * 1000)), max_image_bytes=1000) == [None]


def test_a_gigantic_member_is_not_read_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with path.open("wb") as file:
        for name, size in (("a.jpg", 3 << 30), ("a.bin", 3 << 30), ("a.txt", 0)):
            info = tarfile.TarInfo(name)
            info.size = size
            file.write(info.tobuf())
            file.seek(size, io.SEEK_CUR)  # a hole: no disk is used
        file.write(bytes(1024))
    tracemalloc.start()
    assert reasons(str(path)) == ["image_too_large"]
    assert tracemalloc.get_traced_memory()[1] < 1 << 24
    tracemalloc.stop()


def test_memory_stays_flat_over_many_samples(write_tar: Callable[..., str]) -> None:
    url = write_tar([member for index in range(4000) for member in pair(f"{index:06d}")])
    samples = read_samples(url, config=CONFIG)
    next(samples)
    tracemalloc.start()
    for _ in samples:
        pass
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_foreign_names_are_read_in_every_format(write_tar: Callable[..., str], tar_format: int) -> None:
    folder = "f" * 99 if tar_format == tarfile.USTAR_FORMAT else "f" * 300
    members = [*pair("日本"), *pair(f"{folder}/long"), *pair("plain")]
    url = write_tar(members, tar_format=tar_format)
    keys = [sample.key for sample in read(url)]
    assert keys == ["日本", f"{folder}/long"[:255], "plain"]
    assert reasons(url) == [None, None, None]


def test_what_is_no_file_of_a_sample_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "global"}) as tar:

        def add(name: str, data: bytes = b"", **fields: object) -> None:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in fields.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(data))

        add("train.v1", type=tarfile.DIRTYPE)
        add("train.v1/._a.jpg", b"macOS")
        add("__MACOSX/._a.txt", b"macOS")
        add("train.v1/a.jpg", b"x")
        add("train.v1/.DS_Store", b"macOS")
        add("train.v1/link.jpg", type=tarfile.SYMTYPE, linkname="a.jpg" * 100)
        add("train.v1/a.txt", b"a cat")
        add("README", b"no extension")
        add("__meta__", b"webdataset's")
        add("fifo.jpg", type=tarfile.FIFOTYPE)
        add("odd.jpg", b"data of a type nobody knows", type=b"Z")
    assert [(sample.key, sample.captions, sample.problem) for sample in read(str(path))] == [
        ("train.v1/a", ["a cat"], None)
    ]


def test_a_name_that_is_not_utf8_stays_distinct_and_printable(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", encoding="latin-1", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in (*pair("caf\xe9"), *pair("caf\xe8")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    keys = [sample.key for sample in read(str(path))]
    assert keys == ["caf\\xe9", "caf\\xe8"]
    "".join(keys).encode("utf-8")


def test_a_file_that_comes_twice_starts_the_next_sample(write_tar: Callable[..., str]) -> None:
    url = write_tar([*pair("a", caption=b"one"), *pair("a", caption=b"two"), *pair("b"), *pair("a")])
    assert [(sample.key, sample.captions[0]) for sample in read(url)] == [
        ("a", "one"), ("a", "two"), ("b", "a dog"), ("a", "a dog"),
    ]  # fmt: skip


def test_a_jpeg_is_preferred_to_a_mask_in_png_wherever_it_stands(write_tar: Callable[..., str]) -> None:
    text = ("a.txt", b"a cat")
    for members in ([("a.png", b"mask"), ("a.jpg", b"photo"), text], [("a.jpg", b"photo"), ("a.png", b"mask"), text]):
        [sample] = read(write_tar(members))
        assert sample.image == b"photo"
        assert sample.reference is not None
        assert fetch_image(sample.reference) == b"photo"


def test_the_reference_is_the_image_in_the_stored_file(write_tar: Callable[..., str]) -> None:
    url = write_tar([member for index in range(9) for member in pair(str(index), image=bytes([index]) * 700)])
    for sample in read(url):
        assert sample.reference is not None
        assert fetch_image(sample.reference) == sample.image == bytes([sample.ordinal]) * 700


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "a.tar.gz": gzip.compress,
    "a.tgz": gzip.compress,
    "a.tar.bz2": bz2.compress,
    "a.tar.xz": lzma.compress,
}


@pytest.mark.parametrize("name", COMPRESSORS)
def test_compressed_shards_give_the_same_samples_without_references(tmp_path: Path, name: str) -> None:
    content = tar_bytes([member for index in range(5) for member in pair(str(index))])
    (tmp_path / "a.tar").write_bytes(content)
    (tmp_path / name).write_bytes(COMPRESSORS[name](content))
    plain, compressed = read(str(tmp_path / "a.tar")), read(str(tmp_path / name))
    assert [(s.key, s.image, s.captions, s.offset, s.next_offset) for s in plain] == [
        (s.key, s.image, s.captions, s.offset, s.next_offset) for s in compressed
    ]
    assert all(sample.reference is None for sample in compressed)


@pytest.mark.skipif("zstd" in compr, reason="zstandard is installed here")
def test_zstandard_without_its_package_says_what_is_missing() -> None:
    with pytest.raises(ShardError, match="zstandard"):
        list(read_samples("memory://a.tar.zst", config=CONFIG))


def test_two_readers_of_the_in_memory_store_do_not_disturb_one_another() -> None:
    url = "memory://two-readers.tar"
    content = tar_bytes([member for index in range(6) for member in pair(str(index), image=bytes([index]) * 600)])
    with fsspec.open(url, "wb") as file:
        file.write(content)
    first, second = read_samples(url, config=CONFIG), read_samples(url, config=CONFIG)
    for one, other in zip(first, second, strict=True):
        assert isinstance(one, TarSample)
        assert one == other
        assert one.reference is not None
        assert fetch_image(one.reference) == one.image


@pytest.mark.parametrize("url", ["/nowhere/at/all.tar", "memory://nowhere.tar", "http://127.0.0.1:9/none.tar"])
def test_a_shard_that_is_not_there_is_an_error_that_names_it(url: str) -> None:
    with pytest.raises(ShardError, match=url):
        list(read_samples(url, config=CONFIG))


@pytest.mark.parametrize("url", ["pipe:cat a.tar", "pipe:curl http://x/a.tar", "|cat a.tar", "PIPE: cat a.tar"])
def test_a_url_that_runs_a_command_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="would run a command"):
        list(read_samples(url, config=CONFIG))


def test_a_shard_that_is_not_named_like_a_tar_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"not named like a tar; shards end in \.tar"):
        list(read_samples(str(tmp_path / "a.zip"), config=CONFIG))


def test_samples_are_those_that_webdataset_finds(write_tar: Callable[..., str]) -> None:
    members = [
        *pair("a"),
        *pair("d.ir/b"),
        ("d.ir/b.json", b"{}"),
        *pair("c"),
        ("c.seg.png", b"x"),
        ("e.txt", b"alone"),
    ]
    url = write_tar(members)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from webdataset.tariterators import group_by_keys, tar_file_expander
    with Path(url).open("rb") as stream:
        theirs = [sample["__key__"] for sample in group_by_keys(tar_file_expander([{"url": url, "stream": stream}]))]
    assert [sample.key for sample in read(url)] == theirs == ["a", "d.ir/b", "c", "e"]


def test_reading_data_needs_no_torch() -> None:
    modules = [path.stem for path in Path(xpm_stream.data.__path__[0]).glob("*.py") if path.stem != "__init__"]
    assert len(modules) > 10
    script = f"import sys, {', '.join(f'xpm_stream.data.{name}' for name in modules)}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_record_stream_is_lazy(write_tar: Callable[..., str]) -> None:
    records: Iterator[TarSample | ShardDamage] = read_samples(write_tar([*pair("a"), *pair("b")]), config=CONFIG)
    first = next(records)
    assert isinstance(first, TarSample)
    assert first.key == "a"
