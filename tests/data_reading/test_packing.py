from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from xpm_stream.config.data_sections import DataConfig
from xpm_stream.data.packing import pack_coco_captions
from xpm_stream.data.shard_urls import count_in_stats, expand_shard_urls, is_complete
from xpm_stream.data.shard_writing import CaptionSample, write_caption_shards
from xpm_stream.data.tar_reading import TarSample, read_samples
from xpm_stream.errors import DataError, ShardError


def sample(key: str, **changes: object) -> CaptionSample:
    fields: dict[str, object] = {"image": b"x", "image_extension": "jpg", "captions": ["a cat", "日本 mat"]}
    return CaptionSample(key=key, **(fields | changes))  # type: ignore[arg-type]


def digest(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    written = [sample(f"{index:04d}", image=bytes([index]) * index, metadata={"index": index}) for index in range(7)]
    urls = write_caption_shards(iter(written), tmp_path / "new", samples_per_shard=3, prefix="train-")
    assert [url.rsplit("/", 1)[1] for url in urls] == [f"train-{index:06d}.tar" for index in range(3)]
    read = [record for url in urls for record in read_samples(url, config=DataConfig())]
    assert [(r.key, r.image, r.captions) for r in read if isinstance(r, TarSample)] == [
        (s.key, s.image, s.captions) for s in written
    ]
    assert [count_in_stats(shard) for shard in expand_shard_urls([str(tmp_path / "new")])] == [3, 3, 1]
    assert all(is_complete(shard, earlier=None) for shard in expand_shard_urls([str(tmp_path / "new")]))
    with tarfile.open(tmp_path / "new" / "train-000000.tar") as tar:
        member = tar.extractfile("0001.json")
        assert member is not None
        assert json.load(member) == {"captions": ["a cat", "日本 mat"], "index": 1}


def test_the_same_samples_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_caption_shards([sample("a"), sample("b")], tmp_path / name, samples_per_shard=1)
    assert digest(tmp_path / "one") == digest(tmp_path / "two")


def test_shards_of_an_earlier_corpus_are_not_mixed_into_a_new_one(tmp_path: Path) -> None:
    write_caption_shards([sample(str(index)) for index in range(5)], tmp_path, samples_per_shard=1)
    (tmp_path / "other.tar").write_bytes(b"not ours")
    with pytest.raises(ShardError, match=r"already holds shards \(.*choose another folder or prefix"):
        write_caption_shards([sample("new")], tmp_path, samples_per_shard=1)
    assert len(expand_shard_urls([f"{tmp_path}/00*.tar"])) == 5
    write_caption_shards([sample("new")], tmp_path, samples_per_shard=1, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000.tar", "000000_stats.json", "other.tar"]


def test_a_writer_that_fails_leaves_whole_shards_only(tmp_path: Path) -> None:
    def failing() -> Iterator[CaptionSample]:
        yield from (sample("a"), sample("b"), sample("c"))
        raise OSError("the drawing failed")

    with pytest.raises(OSError, match="the drawing failed"):
        write_caption_shards(failing(), tmp_path, samples_per_shard=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000.tar", "000000_stats.json"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key": "a.b"}, "must have no dot"),
        ({"key": "a/b"}, "must have no dot, slash"),
        ({"image_extension": "gif"}, "'gif' is not one of jpg"),
        ({"captions": ["two\nlines"]}, "must be one line"),
        ({"captions": [" "]}, "not empty"),
    ],
)
def test_a_sample_that_could_not_be_read_back_is_refused(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        write_caption_shards([sample(**({"key": "a"} | changes))], tmp_path, samples_per_shard=1)  # type: ignore[arg-type]


def test_coco_captions_are_packed_with_every_image_and_caption(coco_tiny: Path, tmp_path: Path) -> None:
    captions = coco_tiny / "annotations" / "captions_train2017.json"
    for name in ("one", "two"):
        report = pack_coco_captions(captions, coco_tiny / "train2017", tmp_path / name, samples_per_shard=30)
    assert (report.samples, report.captions, len(report.shards)) == (80, 400, 3)
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    tree = json.loads(captions.read_text())
    wanted: dict[str, set[str]] = {f"{row['id']:012d}": set() for row in tree["images"]}
    for row in tree["annotations"]:
        wanted[f"{row['image_id']:012d}"].add(" ".join(row["caption"].split()))
    for url in report.shards:
        for record in read_samples(url, config=DataConfig()):
            assert isinstance(record, TarSample)
            assert record.problem is None
            assert set(record.captions) == wanted.pop(record.key)
            assert record.image == (coco_tiny / "train2017" / f"{record.key}.jpg").read_bytes()
    assert not wanted


@pytest.fixture
def captions_json(tmp_path: Path) -> Path:
    """Captions of two images; the second has an empty caption only."""
    path = tmp_path / "captions.json"
    rows = [{"id": 1, "image_id": 1, "caption": " a cat\non a mat. "}, {"id": 2, "image_id": 2, "caption": " \n"}]
    path.write_text(json.dumps({"images": [{"id": n, "file_name": f"{n}.jpg"} for n in (1, 2)], "annotations": rows}))
    (tmp_path / "1.jpg").write_bytes(b"x")
    return path


def test_what_is_left_out_is_counted_and_lines_are_joined(captions_json: Path, tmp_path: Path) -> None:
    report = pack_coco_captions(captions_json, tmp_path, tmp_path / "out")
    assert (report.samples, report.captions, report.images_without_captions, report.empty_captions) == (1, 1, 1, 1)
    [record] = read_samples(report.shards[0], config=DataConfig())
    assert isinstance(record, TarSample)
    assert record.captions == ["a cat on a mat."]


def test_a_missing_image_is_named(captions_json: Path, tmp_path: Path) -> None:
    (tmp_path / "1.jpg").unlink()
    with pytest.raises(DataError, match=r"cannot read image 1 at .*1\.jpg: no such file"):
        pack_coco_captions(captions_json, tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"image_id": 1', '"image_id": 9', "caption 1 is of image 9, which is not in 'images'"),
        ("1.jpg", "1.gif", r"image 1 \(1\.gif\) is not one of jpg"),
        ('"annotations"', '"captions"', "is not COCO captions JSON"),
        (" a cat\\non a mat. ", "", "none of its 2 images has a caption"),
        ('"id": 2, "file', '"id": 1, "file', "1 image ids are there twice"),
    ],
)
def test_a_captions_file_that_cannot_be_used_is_named(
    captions_json: Path, tmp_path: Path, old: str, new: str, message: str
) -> None:
    text = captions_json.read_text()
    assert old in text
    captions_json.write_text(text.replace(old, new))
    with pytest.raises(DataError, match=message):
        pack_coco_captions(captions_json, tmp_path, tmp_path / "out")
