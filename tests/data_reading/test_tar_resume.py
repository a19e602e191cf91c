from __future__ import annotations

import gzip
import io
import lzma
import tarfile
from pathlib import Path

import fsspec
from caption_tars import pair, tar_bytes
from hypothesis import given, settings
from hypothesis import strategies as st

from xpm_stream.config.data_sections import DataConfig
from xpm_stream.data.tar_members import TarReader
from xpm_stream.data.tar_reading import ShardDamage, TarSample, read_samples
from xpm_stream.data.tar_stream import TarStream
from xpm_stream.errors import SampleError

CONFIG = DataConfig(max_image_bytes=3000)

_PARTS = st.sampled_from(["jpg", "png", "txt", "json", "cls", "seg.png", "JPG"])
_KEYS = st.sampled_from(["a", "b", "dir/c", "k" * 120, "日本", "._a", "dir.v1/d"])
_DATA = st.one_of(
    st.binary(max_size=1500),
    st.just(b""),
    st.just(b"x" * 3001),
    st.just(b"a dog\na cat"),
    st.just(b'{"caption": ["a cow"]}'),
)
_MEMBERS = st.lists(st.tuples(_KEYS, _PARTS, _DATA), max_size=25)
_FORMATS = st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


def facts(record: TarSample | ShardDamage) -> object:
    """Everything of a record, as something that can be compared (errors compare by identity)."""
    if isinstance(record, ShardDamage):
        return record
    problem: SampleError | None = record.problem
    said = (problem.reason, str(problem)) if problem is not None else None
    return (record.ordinal, record.key, record.image, record.reference, record.captions, record.offset, said)


def check_every_resume(url: str) -> None:
    records = list(read_samples(url, config=CONFIG))
    for index, record in enumerate(records):
        if isinstance(record, ShardDamage):
            continue
        assert record.ordinal == index
        rest = read_samples(url, config=CONFIG, start_offset=record.next_offset, start_ordinal=record.ordinal + 1)
        assert [facts(other) for other in rest] == [facts(other) for other in records[index + 1 :]]


@settings(max_examples=60, deadline=None)
@given(members=_MEMBERS, tar_format=_FORMATS, cut=st.one_of(st.none(), st.integers(0, 40_000)))
def test_reading_on_from_any_sample_gives_exactly_the_rest(
    members: list[tuple[str, str, bytes]], tar_format: int, cut: int | None
) -> None:
    named = [(f"{key}.{part}", data) for key, part, data in members]
    content = tar_bytes(named, tar_format=tar_format)[:cut]
    for url, stored in (("memory://resume.tar", content), ("memory://resume.tar.gz", gzip.compress(content, 1))):
        with fsspec.open(url, "wb") as file:
            file.write(stored)
        check_every_resume(url)


@settings(max_examples=60, deadline=None)
@given(members=_MEMBERS, tar_format=_FORMATS)
def test_every_image_and_text_of_a_tar_is_in_one_sample(members: list[tuple[str, str, bytes]], tar_format: int) -> None:
    named = [(f"{key}.{part}", data) for key, part, data in members]
    with fsspec.open("memory://all.tar", "wb") as file:
        file.write(tar_bytes(named, tar_format=tar_format))
    samples = [record for record in read_samples("memory://all.tar", config=CONFIG) if isinstance(record, TarSample)]
    visible = [(key, part.lower()) for key, part, _ in members if not key.startswith("._")]
    groups: list[tuple[str, set[str]]] = []
    for key, part in visible:
        if not groups or groups[-1][0] != key or part in groups[-1][1] - {"cls", "seg.png"}:
            groups.append((key, set()))
        groups[-1][1].add(part)
    assert [sample.key for sample in samples] == [key for key, _ in groups]


def test_resume_works_on_files_as_in_memory(tmp_path: Path) -> None:
    content = tar_bytes([member for index in range(20) for member in pair(str(index))])
    (tmp_path / "a.tar").write_bytes(content)
    (tmp_path / "a.tar.xz").write_bytes(lzma.compress(content))
    for name in ("a.tar", "a.tar.xz"):
        check_every_resume(f"file://{tmp_path / name}")
        check_every_resume(f"simplecache::file://{tmp_path / name}")


class _CountingFile(io.BytesIO):
    """A stored file that counts the bytes read of it."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.bytes_read = 0

    def read(self, count: int | None = -1) -> bytes:
        data = super().read(count)
        self.bytes_read += len(data)
        return data


def test_resume_near_the_end_of_a_plain_tar_reads_under_one_percent_of_it() -> None:
    content = tar_bytes([member for index in range(2000) for member in pair(f"{index:04d}", image=b"x" * 20_000)])
    with fsspec.open("memory://long.tar", "wb") as file:
        file.write(content)
    samples = list(read_samples("memory://long.tar", config=DataConfig()))
    last = samples[-2]
    assert isinstance(last, TarSample)
    counting = _CountingFile(content)
    stream = TarStream(counting, "counted", size=len(content), can_seek=True)
    members = list(TarReader(stream, start_offset=last.next_offset))
    assert [member.name for member in members] == ["1999.jpg", "1999.txt"]
    assert counting.bytes_read < len(content) / 100


def test_a_web_server_without_byte_ranges_is_streamed_and_gives_no_references(http_folder: tuple[Path, str]) -> None:
    folder, url = http_folder
    content = tar_bytes([member for index in range(30) for member in pair(str(index), image=bytes([index]) * 2500)])
    for name, stored in (("a.tar", content), ("a.tar.gz", gzip.compress(content))):
        (folder / name).write_bytes(stored)
        remote = list(read_samples(f"{url}/{name}", config=CONFIG))
        local = list(read_samples(str(folder / name), config=CONFIG))
        assert [(r.key, r.image, r.next_offset) for r in remote if isinstance(r, TarSample)] == [
            (r.key, r.image, r.next_offset) for r in local if isinstance(r, TarSample)
        ]
        for record in remote:
            assert isinstance(record, TarSample)
            assert record.reference is None
        check_every_resume(f"{url}/{name}")
