"""The corpus on disk: formats that others read, the same bytes for the same seed, written once."""

import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from xpm_stream.config.data_sections import BaseSetConfig, DataConfig
from xpm_stream.data.base_set import BaseSet
from xpm_stream.data.shard_urls import expand_shard_urls
from xpm_stream.data.splits import load_split
from xpm_stream.data.synthetic import PRESETS, CorpusPaths, Truth, preset_config, read_truth, write_corpus
from xpm_stream.data.synthetic.samples import draw_sample
from xpm_stream.data.tar_reading import TarSample, read_samples
from xpm_stream.errors import ConfigError, DataError

SMALL = PRESETS["tiny"].model_copy(
    update={"base_images": 12, "caption_images": 30, "val_images": 6, "images_per_shard": 10, "image_size": 64}
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> CorpusPaths:
    return write_corpus(tmp_path_factory.mktemp("corpus"), preset=SMALL, seed=0)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def caption_samples(corpus: CorpusPaths) -> dict[str, dict[str, bytes]]:
    samples: dict[str, dict[str, bytes]] = {}
    for shard in sorted(corpus.folder.glob("captions/*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                key, extension = member.name.split(".", 1)
                stream = tar.extractfile(member)
                assert stream is not None
                samples.setdefault(key, {})[extension] = stream.read()
    return samples


def truth_of(sample: dict[str, bytes]) -> Truth:
    truth = read_truth(sample["json"])
    assert truth is not None
    return truth


def test_worker_processes_write_the_same_bytes_as_one_process(corpus: CorpusPaths, tmp_path: Path) -> None:
    write_corpus(tmp_path / "again", preset=SMALL, seed=0, workers=2)
    assert files_of(tmp_path / "again") == files_of(corpus.folder)


def test_another_seed_draws_other_pictures() -> None:
    first, second = (draw_sample(SMALL, seed=seed, part="val", index=0) for seed in (0, 1))
    assert first.jpeg != second.jpeg


def test_the_parts_of_a_corpus_share_no_picture() -> None:
    # Settings under which only the seed tells a held-out picture from a caption picture.
    alike = {
        "val_target_rate": 0.3,
        "caption_target_rate": 0.3,
        "caption_unannotated_rate": 0.0,
        "jpeg_quality": (90, 90),
    }
    config = SMALL.model_copy(update=alike)
    for index in range(3):
        held_out = draw_sample(config, seed=0, part="val", index=index)
        captioned = draw_sample(config, seed=0, part="captions", index=index)
        assert held_out.jpeg != captioned.jpeg


def test_a_written_corpus_is_reused(corpus: CorpusPaths) -> None:
    before = {path: path.stat().st_mtime_ns for path in corpus.folder.rglob("*")}
    calls: list[tuple[int, int]] = []
    again = write_corpus(
        corpus.folder, preset=SMALL, seed=0, progress=lambda done, number: calls.append((done, number))
    )
    assert again == corpus == CorpusPaths.load(corpus.folder)
    assert not calls
    assert {path: path.stat().st_mtime_ns for path in corpus.folder.rglob("*")} == before


def test_an_unfinished_corpus_is_written_again(corpus: CorpusPaths, tmp_path: Path) -> None:
    torn = tmp_path / "torn"
    shutil.copytree(corpus.folder, torn)
    (torn / "corpus.json").unlink()
    (torn / "captions" / "000001.tar").unlink()
    (torn / "val" / "000000000001.jpg").write_bytes(b"half an ima")
    (torn / "val" / "stray.jpg").write_bytes(b"")
    write_corpus(torn, preset=SMALL, seed=0)
    assert files_of(torn) == files_of(corpus.folder)


def test_a_folder_with_another_corpus_is_refused_and_the_difference_named(corpus: CorpusPaths) -> None:
    with pytest.raises(DataError, match="seed: 0 there, 1 asked for"):
        write_corpus(corpus.folder, preset=SMALL, seed=1)
    with pytest.raises(DataError, match="image_size: 64 there, 96 asked for"):
        write_corpus(corpus.folder, preset=SMALL.model_copy(update={"image_size": 96}), seed=0)


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match=r"thesis\.tex"):
        write_corpus(tmp_path, preset=SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_loading_a_folder_without_a_corpus_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="xpm-stream synth"):
        CorpusPaths.load(tmp_path)


def test_an_unknown_preset_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="tiny, quickstart, full"):
        preset_config("quick")


def test_progress_counts_every_image(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    write_corpus(tmp_path, preset=SMALL, progress=lambda done, number: calls.append((done, number)))
    assert calls[-1] == (48, 48)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


@pytest.mark.parametrize("part", ["base", "val"])
def test_pycocotools_reads_the_annotations(corpus: CorpusPaths, part: str, capsys: pytest.CaptureFixture[str]) -> None:
    annotations, images = {
        "base": (corpus.base_annotations, corpus.base_images),
        "val": (corpus.val_annotations, corpus.val_images),
    }[part]
    coco = COCO(str(annotations))
    capsys.readouterr()
    assert len(coco.imgs) == {"base": 12, "val": 6}[part]
    names = {category["name"] for category in coco.cats.values()}
    assert names == {*corpus.base_words, *corpus.target_words}
    for annotation in coco.anns.values():
        mask = coco.annToMask(annotation)
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = [columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0]]
        assert annotation["bbox"] == box
        assert annotation["area"] == mask.sum()
    for row in coco.imgs.values():
        with Image.open(images / row["file_name"]) as image:
            assert image.size == (row["width"], row["height"])


def test_the_package_reads_its_own_corpus(corpus: CorpusPaths) -> None:
    section = BaseSetConfig(annotations=str(corpus.base_annotations), images=str(corpus.base_images))
    base_set = BaseSet.load(section, class_names=load_split(str(corpus.split)).base)
    assert len(base_set) == 12
    image = base_set[0]
    assert image.masks().shape == (len(image.class_names), *image.pixels.shape[:2])
    shards = expand_shard_urls([corpus.caption_shards])
    samples = [sample for shard in shards for sample in read_samples(shard.url, config=DataConfig())]
    assert [sample.key for sample in samples if isinstance(sample, TarSample)] == sorted(caption_samples(corpus))


def test_the_base_set_annotates_base_classes_only_and_shows_target_objects(corpus: CorpusPaths) -> None:
    content = json.loads(corpus.base_annotations.read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    annotated = [names[annotation["category_id"]] for annotation in content["annotations"]]
    assert set(annotated) <= set(corpus.base_words)
    assert {annotation["image_id"] for annotation in content["annotations"]} == {row["id"] for row in content["images"]}
    drawn = [
        item.word
        for index in range(60)
        for item in draw_sample(SMALL, seed=0, part="base_train", index=index).instances
    ]
    assert 0.03 < np.mean([word in corpus.target_words for word in drawn]) < 0.25


def test_the_split_file_lists_disjoint_classes(corpus: CorpusPaths) -> None:
    split = json.loads(corpus.split.read_text())
    assert set(split) == {"base", "target"}
    assert not set(split["base"]) & set(split["target"])
    assert tuple(split["base"]) == corpus.base_words


def test_caption_samples_hold_image_captions_and_truth(corpus: CorpusPaths) -> None:
    samples = caption_samples(corpus)
    assert len(samples) == 30
    for sample in samples.values():
        assert set(sample) == {"jpg", "json", "txt"}
        truth = truth_of(sample)
        width, height = Image.open(io.BytesIO(sample["jpg"])).size
        assert len(sample["txt"].decode().splitlines()) == len(truth.mentions)
        for instance in truth.instances:
            mask = instance.segmentation.decode()
            assert mask.shape == (height, width)
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            assert instance.box_xyxy == (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        shown = {instance.word for instance in truth.instances}
        assert all(mention.right == (mention.word in shown) for caption in truth.mentions for mention in caption)


def test_a_sample_without_truth_reads_as_none_and_a_strange_one_is_refused() -> None:
    assert read_truth({"captions": ["a cup"]}) is None
    with pytest.raises(DataError, match="truth"):
        read_truth({"truth": {"instances": 3}})


def test_late_classes_appear_only_in_the_second_part_of_the_stream() -> None:
    config = SMALL.model_copy(update={"late_class_rate": 0.5, "caption_images": 200, "wrong_noun_rate": 0.3})
    late = {"guitar", "mushroom", "anchor", "pineapple", "glove"}
    early, later = (
        {
            word
            for index in indices
            for sample in [draw_sample(config, seed=0, part="captions", index=index)]
            for word in [
                *(item.word for item in sample.instances),
                *(mention.word for caption in sample.captions for mention in caption.mentions),
            ]
        }
        for indices in (range(100), range(100, 200))
    )
    assert not early & late
    assert late <= later
    assert {"umbrella", "cup", "cat"} <= early & later
