"""What somebody else wrote, too large or too clever: refused with an error that names it, and nothing is run."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from xpm_stream.config.data_sections import DataConfig
from xpm_stream.data.coco_json import read_captions, read_instances
from xpm_stream.data.shard_urls import ShardFile, count_in_stats, expand_braces, expand_shard_urls
from xpm_stream.data.splits import load_split
from xpm_stream.data.storage import MAX_ANNOTATIONS_BYTES, MAX_TEXT_FILE_BYTES, locate, read_bytes
from xpm_stream.data.tar_members import MAX_EXTENDED_HEADER, MAX_EXTENDED_HEADERS
from xpm_stream.data.tar_reading import MAX_TEXT_BYTES, ShardDamage, TarSample, read_samples
from xpm_stream.errors import CheckpointError, ConfigError, DataError, MessageError, RegistryError, ShardError
from xpm_stream.label_queue.codec import MAX_MESSAGE_BYTES, decode
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.registry.holds import Holds
from xpm_stream.registry.manifest import MANIFEST
from xpm_stream.registry.promotion_log import PromotionLog
from xpm_stream.registry.store import MAX_RECORD_BYTES, open_store

DEEP = b'{"a":' * 200_000


def sparse(path: Path, size: int) -> Path:
    """A real file of that size which takes no room on the disk."""
    with path.open("wb") as stream:
        stream.truncate(size)
    return path


# -- URLs


@pytest.mark.parametrize(
    "url",
    [
        "reference::{folder}/refs.json",
        "reference://data.tar",
        "simplecache::reference::file://{folder}/refs.json",
        "dask::file://{folder}/a.tar",
        "jupyter://host/a.tar",
        "PYTHON:print()",
        "pipe:touch {folder}/ran",
    ],
)
def test_urls_that_run_code_are_refused_in_data_and_in_the_registry(url: str, tmp_path: Path) -> None:
    # fsspec would render this file's template.
    references = {"version": 1, "templates": {"u": "{{ 7 * 7 }}"}, "refs": {"data.tar": ["{{u}}"]}}
    (tmp_path / "refs.json").write_text(json.dumps(references))
    named = url.format(folder=tmp_path)
    with pytest.raises(DataError, match="would run a command or code"):
        locate(named)
    with pytest.raises(ShardError, match="would run a command or code"):
        expand_shard_urls([named])
    with pytest.raises(RegistryError, match="could run programs"):
        open_store(named)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("path", ["/data/reference/a.tar", "reference", "dask-data/a.tar", "memory://reference/a.tar"])
def test_names_that_only_look_so_are_not(path: str) -> None:
    assert locate(path)[1].endswith(path.rpartition("//")[2])


@pytest.mark.parametrize("pattern", ["{0..999999999}", "{a,b}" * 30, "{9999999..0..3}"])
def test_a_pattern_that_names_more_shards_than_there_can_be_is_refused_soon(pattern: str) -> None:
    with pytest.raises(ShardError, match="names more than 1,000,000 shards"):
        expand_braces(f"/data/{pattern}.tar")


def test_a_pattern_of_many_shards_is_written_out() -> None:
    assert len(expand_braces("/data/{00000..99999}.tar")) == 100_000
    assert len(expand_braces("/data/{0..9000000..1000000}.tar")) == 10


# -- tars


def pax_headers(count: int, size: int) -> bytes:
    """So many extended headers with a record of that many bytes each, then a whole sample."""
    tar = io.BytesIO()
    for number in range(count):
        record = b" k%d=" % number
        length = size + len(record) + 1
        body = b"%d" % (length + len(str(length))) + record + b"x" * size + b"\n"
        info = tarfile.TarInfo("header")
        info.type, info.size = tarfile.XHDTYPE, len(body)
        tar.write(info.tobuf(tarfile.USTAR_FORMAT) + body + bytes(-len(body) % 512))
    for name, content in (("a.jpg", b"image"), ("a.txt", b"a dog")):
        info = tarfile.TarInfo(name)
        info.size = len(content)
        tar.write(info.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % 512))
    tar.write(bytes(1024))
    return tar.getvalue()


def read(path: Path) -> list[TarSample | ShardDamage]:
    return list(read_samples(str(path), config=DataConfig()))


@pytest.mark.parametrize(
    ("count", "size", "says"),
    [
        (MAX_EXTENDED_HEADERS, 100, None),
        (MAX_EXTENDED_HEADERS + 1, 100, "more than 16 extended headers"),
        (1, MAX_EXTENDED_HEADER, "an extended header of "),
    ],
)
def test_headers_that_would_fill_memory_are_damage(count: int, size: int, says: str | None, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(pax_headers(count, size))
    found = read(tmp_path / "a.tar")
    if says is None:
        assert [sample.captions for sample in found if isinstance(sample, TarSample)] == [["a dog"]]
    else:
        (damage,) = found
        assert isinstance(damage, ShardDamage)
        assert says in damage.detail


def test_names_reach_no_file_and_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, target in (("../../escape.jpg", ""), ("/etc/absolute.jpg", ""), ("a.jpg", "secret.jpg")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = (tarfile.SYMTYPE, target) if target else (tarfile.REGTYPE, "")
            tar.addfile(info, io.BytesIO())
        info = tarfile.TarInfo("a.txt")
        info.size = 5
        tar.addfile(info, io.BytesIO(b"a dog"))
    before = set(tmp_path.iterdir())
    samples = [sample for sample in read(tmp_path / "a.tar") if isinstance(sample, TarSample)]
    assert {sample.problem.reason for sample in samples if sample.problem} == {"missing_caption", "missing_image"}
    assert all(sample.image == b"" for sample in samples)
    assert set(tmp_path.iterdir()) == before


def test_a_text_above_the_limit_is_not_read(tmp_path: Path) -> None:
    tar = io.BytesIO()
    info = tarfile.TarInfo("a.json")
    info.size = 8 << 30
    tar.write(info.tobuf(tarfile.GNU_FORMAT))
    path = tmp_path / "a.tar"
    path.write_bytes(tar.getvalue())
    with path.open("r+b") as stream:  # the eight gigabytes are there, and take no room on the disk
        stream.truncate(512 + info.size)
        stream.seek(0, io.SEEK_END)
        stream.write(bytes(1024))
    (sample,) = read(path)
    assert isinstance(sample, TarSample)
    assert sample.problem is not None
    assert sample.problem.reason == "text_too_large"
    assert str(MAX_TEXT_BYTES) in str(sample.problem)


# -- JSON beside them


@pytest.mark.parametrize(
    ("use", "limit"),
    [
        (load_split, MAX_TEXT_FILE_BYTES),
        (read_instances, MAX_ANNOTATIONS_BYTES),
        (read_captions, MAX_ANNOTATIONS_BYTES),
    ],
)
def test_json_too_large_or_too_deep_is_an_error_of_ours(
    use: Callable[[str], object], limit: int, tmp_path: Path
) -> None:
    with pytest.raises((DataError, ConfigError), match=rf"a\.json has more than the limit of {limit} bytes"):
        use(str(sparse(tmp_path / "a.json", limit + 1)))
    (tmp_path / "deep.json").write_bytes(DEEP)
    with pytest.raises((DataError, ConfigError), match=r"deep\.json is not"):
        use(str(tmp_path / "deep.json"))


@pytest.mark.parametrize("content", [DEEP, b'{"successes": 1e999}', b'{"successes": []}', b"[]"])
def test_statistics_that_are_none_are_an_error_of_ours(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a_stats.json").write_bytes(content)
    shard = ShardFile(url=f"file://{tmp_path}/a.tar", size_bytes=1, version="1", has_stats=True)
    with pytest.raises(ShardError, match="is not img2dataset's statistics"):
        count_in_stats(shard)
    sparse(tmp_path / "a_stats.json", MAX_TEXT_FILE_BYTES + 1)
    with pytest.raises(ShardError, match="more than the limit"):
        count_in_stats(shard)


def test_a_store_that_is_no_disk_is_asked_for_no_more_than_the_limit() -> None:
    filesystem, path = locate("memory://hostile/a.json")
    filesystem.pipe_file(path, bytes(1001))
    assert len(read_bytes("memory://hostile/a.json", what="file", max_bytes=1001)) == 1001
    with pytest.raises(DataError, match=r"file memory://hostile/a\.json has more than the limit of 1000 bytes"):
        read_bytes("memory://hostile/a.json", what="file", max_bytes=1000)


# -- Redis


def test_a_message_above_the_limit_is_not_decoded() -> None:
    with pytest.raises(MessageError, match=rf"{MAX_MESSAGE_BYTES + 1} bytes, above the limit"):
        decode(bytes(MAX_MESSAGE_BYTES + 1))


# -- the registry


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    CheckpointStore(tmp_path / "checkpoints").write("good", {"model.safetensors": b"weights"})
    PromotionLog(tmp_path).append("promote", checkpoint="good", by="test")
    return tmp_path


def test_a_file_longer_than_its_manifest_says_is_not_read(registry: Path) -> None:
    sparse(registry / "checkpoints" / "good" / "model.safetensors", 1 << 40)
    with pytest.raises(CheckpointError, match=r"model\.safetensors of checkpoint 'good' .* differs from its sha256"):
        CheckpointStore(registry / "checkpoints").read("good")


@pytest.mark.parametrize("content", [None, DEEP])
def test_records_too_large_or_too_deep_are_damaged(content: bytes | None, registry: Path) -> None:
    for path in (f"checkpoints/good/{MANIFEST}", "promotions/00000001.json", "leases/a.json"):
        (registry / path).parent.mkdir(exist_ok=True)
        if content is None:
            sparse(registry / path, MAX_RECORD_BYTES + 1)
        else:
            (registry / path).write_bytes(content)
    with pytest.raises(CheckpointError, match="delete this checkpoint"):
        CheckpointStore(registry / "checkpoints").info("good")
    with pytest.raises(RegistryError, match=r"promotions/00000001\.json .*damaged"):
        PromotionLog(registry).entries()
    with pytest.raises(RegistryError, match=r"leases/a\.json .*damaged"):
        Holds(registry).leased()


def test_a_checkpoint_chooses_no_class_to_be_called(tmp_path: Path) -> None:
    from xpm_stream.stages.loaded_model import load_model

    (tmp_path / "planted_method.py").write_text("raise SystemExit('it was imported')\n")
    config = msgspec.json.encode({"method": "planted_method:Method"})
    CheckpointStore(tmp_path).write("bad", {"config.json": config, "classes.json": b'{"base": []}'})
    sys.path.insert(0, str(tmp_path))
    try:
        with pytest.raises(ConfigError, match="wants its method to be planted_method:Method"):
            load_model(f"{tmp_path}/bad")
    finally:
        sys.path.remove(str(tmp_path))
    assert "planted_method" not in sys.modules
