"""Exported labels: those of a real labeler again, readable by pycocotools, by webdataset, and by our own readers."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import warnings
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from label_runs import WITHOUT_NOUNS, captioned, label_all, make_run, picture, promote_teacher, write_members
from pycocotools.coco import COCO

from xpm_stream.config import RunConfig
from xpm_stream.config.data_sections import BaseSetConfig, DataConfig
from xpm_stream.data.base_set import BaseSet
from xpm_stream.data.images import decode_image
from xpm_stream.data.shard_urls import expand_shard_urls
from xpm_stream.data.splits import load_split
from xpm_stream.data.tar_reading import TarSample, read_samples
from xpm_stream.errors import ConfigError, RegistryError
from xpm_stream.evaluation.truth import GroundTruth
from xpm_stream.label_queue import start_or_join
from xpm_stream.masks import paste_roi_mask, unpack_mask_bits
from xpm_stream.records import ImageInline, LabelMessage, SampleId
from xpm_stream.stages.exported_labels import ExportTally, LabelFilter, LabelledSample, exported
from xpm_stream.stages.fixed_teacher import FixedTeacher, read_teacher
from xpm_stream.stages.label_export import ExportRequest, NothingExported, export_labels
from xpm_stream.stages.labels_made_again import labels_made_again
from xpm_stream.stages.operating import open_queue_of

USABLE = 13


@dataclass(frozen=True)
class LabelledRun:
    """A run whose labels all wait, and its two exports: what waits, and what its champion says again."""

    config: RunConfig
    folder: Path
    labels: list[LabelMessage]
    waiting: Path
    again: Path
    tallies: dict[str, ExportTally]

    def request(self, **how: Any) -> ExportRequest:
        return ExportRequest(run=str(self.folder), **how)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelledRun]:
    root = tmp_path_factory.mktemp("export")
    shards = root / "shards"
    shards.mkdir()
    broken = [("0007.jpg", b"no picture"), ("0007.txt", b"a dog")]
    nounless = [("0008.png", captioned(8, 1)[0][1]), ("0008.txt", WITHOUT_NOUNS.encode())]
    write_members(shards / "a.tar", [*captioned(0, 7), *broken, *nounless])
    write_members(shards / "b.tar", captioned(9, 6))
    config = make_run(root / "run", data={"shards": [str(shards / "*.tar")]})
    promote_teacher(config)
    with start_or_join(config.redis, run_folder=root / "run"):
        labels = label_all(config, shards=2)
        tallies = {
            name: export_labels(
                ExportRequest(
                    run=str(root / "run"),
                    waiting=name == "waiting",
                    coco=root / name / "coco",
                    webdataset=root / name / "shards",
                    samples_per_shard=8,
                )
            )
            for name in ("waiting", "again")
        }
        yield LabelledRun(config, root / "run", labels, root / "waiting", root / "again", tallies)


def written_in(folder: Path) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads((folder / "annotations.json").read_bytes())
    return tree


def bare(message: LabelMessage) -> LabelMessage:
    """A label without how it carries its image, and when it was made."""
    return msgspec.structs.replace(message, image=ImageInline(data=b"-"), labelled_at_s=0.0)


def test_labels_made_again_are_the_labelers(run: LabelledRun) -> None:
    assert len(run.labels) == USABLE
    assert len({i.reliability for m in run.labels for i in m.annotation.instances}) > USABLE, "all alike: tests nothing"
    teacher = FixedTeacher(read_teacher(str(run.folder)), like=run.config)
    shards = expand_shard_urls(run.config.data.shards)
    with closing(labels_made_again(teacher, shards, tally=ExportTally(), on_batch=lambda _: None)) as again:
        found = {one.message.sample: bare(one.message) for one in again}
    assert found == {message.sample: bare(message) for message in run.labels}


def test_what_waits_and_what_is_made_again_are_written_alike(run: LabelledRun) -> None:
    ours, theirs = written_in(run.again / "coco"), written_in(run.waiting / "coco")
    for part in ("images", "annotations", "categories"):
        assert ours[part] == theirs[part], part
        assert ours[part], "nothing there: tests nothing"
    names = [path.name for path in sorted((run.again / "shards").iterdir())]
    assert names == ["000000.tar", "000000_stats.json", "000001.tar", "000001_stats.json"]
    for name in names:
        assert (run.again / "shards" / name).read_bytes() == (run.waiting / "shards" / name).read_bytes()


def test_what_cannot_be_labelled_is_counted_by_reason(run: LabelledRun) -> None:
    again, waiting = run.tallies["again"], run.tallies["waiting"]
    assert again.left_out == {"image_broken": 1, "no_nouns": 1}
    assert not waiting.left_out, "those are not on the queue"
    for tally in (again, waiting):
        in_labels = sum(len(message.annotation.instances) for message in run.labels)
        assert tally.instances + tally.instances_left_out.total() == in_labels
        assert (tally.samples, tally.shards, tally.teachers) == (USABLE, 2, {"teacher-0 (v1)": USABLE})


def test_pycocotools_reads_masks_boxes_scores_and_where_they_come_from(run: LabelledRun) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(run.waiting / "coco" / "annotations.json"))
    names = {one["id"]: one["name"] for one in coco.loadCats(coco.getCatIds())}
    of_sample = {message.sample: message for message in run.labels}
    seen = 0
    for image in coco.loadImgs(coco.getImgIds()):
        sample = image["sample"]
        message = of_sample.pop(SampleId(sample["pass"], sample["shard_id"], sample["ordinal"]))
        width, height = message.image_size_wh
        assert (image["width"], image["height"], image["words"]) == (width, height, message.words)
        assert (sample["key"], sample["shard"][-5:]) == (message.key, "b.tar" if int(message.key) > 8 else "a.tar")
        teacher = {"promotion": 1, "checkpoint": "teacher-0", "epoch": 0, "step": 10, "revoked": False}
        assert image["teacher"] == teacher
        assert all(word in " ".join(image["captions"]) for word in message.words)
        masks = {
            one.word: paste_roi_mask(unpack_mask_bits(one.mask_bits), one.box_xyxy, height=height, width=width)
            for one in message.annotation.instances
        }
        labels = {one.word: one for one in message.annotation.instances if masks[one.word].any()}
        for found in coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]])):
            word = names[found["category_id"]]
            label = labels.pop(word)
            np.testing.assert_array_equal(coco.annToMask(found), masks[word])
            assert found["area"] == masks[word].sum()
            x0, y0, x1, y1 = label.box_xyxy
            assert found["bbox"] == [x0, y0, min(x1, width) - x0, min(y1, height) - y0]
            assert (found["score"], found["reliability"]) == (label.score, label.reliability)
            assert (found["iscrowd"], found["teacher"]) == (0, teacher)
            seen += 1
        assert not labels
    assert not of_sample
    assert seen == run.tallies["waiting"].instances > USABLE


def test_the_coco_export_is_a_base_set_as_it_is(run: LabelledRun) -> None:
    folder = run.again / "coco"
    split = load_split(str(folder / "split.json"))
    files = BaseSetConfig(annotations=str(folder / "annotations.json"), images=str(folder / "images"))
    base = BaseSet.load(files, class_names=split.base)
    assert len(base) == USABLE
    assert base.summary.instances == run.tallies["again"].instances
    assert base.summary.instances_without_area == 0
    for image in (base[index] for index in range(len(base))):
        assert image.masks().any(axis=(1, 2)).all()
    truth = GroundTruth.from_file(files.annotations)  # as `evaluate` reads data.val
    assert truth.count_instances().total() == run.tallies["again"].instances


def test_webdataset_and_our_own_reader_read_the_shards(run: LabelledRun) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import webdataset

        urls = sorted(str(path) for path in (run.again / "shards").glob("*.tar"))
        theirs = list(webdataset.WebDataset(urls, shardshuffle=False).decode("rgb8"))
        gc.collect()  # it leaves its files open
    ours = [one for url in urls for one in read_samples(url, config=DataConfig())]
    coco = written_in(run.again / "coco")
    assert len(theirs) == len(ours) == len(coco["images"]) == USABLE
    names = {one["id"]: one["name"] for one in coco["categories"]}
    for sample, own, image in zip(theirs, ours, coco["images"], strict=True):
        assert isinstance(own, TarSample)
        assert own.problem is None
        assert sample["__key__"] == own.key
        assert own.captions == image["captions"] == sample["json"]["captions"]
        assert own.image == (run.again / "coco" / "images" / image["file_name"]).read_bytes()
        pixels = decode_image(own.image, max_pixels=1 << 20)
        np.testing.assert_array_equal(sample["jpg" if "jpg" in sample else "png"], pixels)
        for name in ("teacher", "sample", "words", "method"):
            assert sample["json"][name] == image[name]
        in_coco = [one for one in coco["annotations"] if one["image_id"] == image["id"]]
        assert len(in_coco) == len(sample["json"]["annotations"])
        for mask, found in zip(sample["json"]["annotations"], in_coco, strict=True):
            assert mask["word"] == names[found["category_id"]]
            for name in ("segmentation", "bbox", "area", "score", "reliability"):
                assert mask[name] == found[name]


def test_nothing_is_taken_from_the_queue(run: LabelledRun, tmp_path: Path) -> None:
    with open_queue_of(run.config) as queue:
        before = queue.stats()
        export_labels(run.request(waiting=True, coco=tmp_path / "coco"))
        after = queue.stats()
    assert (after.unacked_labels, after.delivered_labels) == (before.unacked_labels, 0) == (USABLE, 0)


@pytest.mark.parametrize("by", ["reliability", "score", "words"])
def test_only_wanted_instances_are_written_and_the_others_counted(run: LabelledRun, tmp_path: Path, by: str) -> None:
    everything = written_in(run.waiting / "coco")
    names = {one["id"]: one["name"] for one in everything["categories"]}
    median = {name: sorted(one[name] for one in everything["annotations"])[USABLE] for name in ("reliability", "score")}
    chosen, reason = {
        "reliability": (LabelFilter(min_reliability=median["reliability"]), "below_min_reliability"),
        "score": (LabelFilter(min_score=median["score"]), "below_min_score"),
        "words": (LabelFilter(words=frozenset({"dog", "car"})), "other_word"),
    }[by]
    tally = export_labels(run.request(waiting=True, coco=tmp_path / "coco", chosen=chosen))
    written = written_in(tmp_path / "coco")
    wanted = [
        one
        for one in everything["annotations"]
        if (names[one["category_id"]] in ("dog", "car") if by == "words" else one[by] >= median[by])
    ]
    assert [one["segmentation"] for one in written["annotations"]] == [one["segmentation"] for one in wanted]
    assert {one["name"] for one in written["categories"]} == {names[one["category_id"]] for one in wanted}
    assert {one["image_id"] for one in written["annotations"]} == {one["id"] for one in written["images"]}
    refused = run.tallies["waiting"].instances - len(wanted)
    assert tally.instances_left_out - run.tallies["waiting"].instances_left_out == {reason: refused}
    assert tally.samples + tally.left_out["nothing_wanted"] == USABLE
    assert written["info"]["instances_left_out"] == dict(tally.instances_left_out)


def test_an_export_ends_after_so_many_samples(run: LabelledRun, tmp_path: Path) -> None:
    assert export_labels(run.request(coco=tmp_path / "coco", limit=4)).samples == 4
    written, everything = written_in(tmp_path / "coco"), written_in(run.again / "coco")
    assert written["images"] == everything["images"][:4]
    assert len(list((tmp_path / "coco" / "images").glob("*/*"))) == 4


def test_a_teacher_is_named_by_its_number_or_its_checkpoint(run: LabelledRun, tmp_path: Path) -> None:
    other = make_run(tmp_path / "run", data={"shards": run.config.data.shards})
    first, second = promote_teacher(other, seed=0), promote_teacher(other, seed=1)
    found = {
        name: export_labels(
            ExportRequest(run=str(tmp_path / "run"), coco=tmp_path / f"by-{name}", teacher=name, limit=2)
        ).teachers
        for name in ("champion", "1", first)
    }
    assert found == {"champion": {f"{second} (v2)": 2}, "1": {f"{first} (v1)": 2}, first: {f"{first} (v1)": 2}}
    by_number, by_champion = written_in(tmp_path / "by-1"), written_in(tmp_path / "by-champion")
    assert by_number["annotations"] != by_champion["annotations"]
    assert by_number["annotations"] == written_in(tmp_path / f"by-{first}")["annotations"]
    with pytest.raises(RegistryError, match="log has entries 1 to 2"):
        export_labels(ExportRequest(run=str(tmp_path / "run"), coco=tmp_path / "none", teacher="7"))


def test_a_registry_alone_labels_shards_that_are_named(run: LabelledRun, tmp_path: Path) -> None:
    registry = str(run.folder / "registry")
    with pytest.raises(ConfigError, match="--shards PATTERN"):
        export_labels(ExportRequest(run=registry, coco=tmp_path / "coco"))
    export_labels(ExportRequest(run=registry, coco=tmp_path / "coco", shards=tuple(run.config.data.shards)))
    assert written_in(tmp_path / "coco")["annotations"] == written_in(run.again / "coco")["annotations"]


def test_a_cut_shard_gives_what_is_whole_and_is_named(run: LabelledRun, tmp_path: Path) -> None:
    whole = Path(run.config.data.shards[0].replace("*", "b")).read_bytes()
    cut, wrong = tmp_path / "cut.tar", tmp_path / "wrong.tar"
    cut.write_bytes(whole[: len(whole) // 2])
    wrong.write_bytes(zlib.compress(whole))
    tally = export_labels(run.request(coco=tmp_path / "coco", shards=(str(wrong), str(cut))))
    assert 0 < tally.samples < 6
    assert len(tally.problems) == 2
    assert "wrong.tar" in tally.problems[0]
    assert "cut.tar ends at sample" in tally.problems[1]


def test_outputs_are_never_overwritten_and_never_half(run: LabelledRun, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="taken exists: nothing is overwritten"):
        export_labels(run.request(coco=tmp_path / "free", webdataset=taken))
    with pytest.raises(NothingExported) as nothing:
        export_labels(run.request(coco=tmp_path / "free", chosen=LabelFilter(words=frozenset({"unicorn"}))))
    assert nothing.value.tally.left_out["nothing_wanted"] == USABLE
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]

    seen: list[list[str]] = []
    export_labels(
        run.request(coco=tmp_path / "free", waiting=True),
        on_progress=lambda _: seen.append(sorted(path.name for path in tmp_path.iterdir())),
    )
    assert seen == [["free.partial", "taken"]] * USABLE
    assert sorted(path.name for path in (tmp_path / "free").iterdir()) == ["annotations.json", "images", "split.json"]


def test_a_request_that_makes_no_sense_is_refused(run: LabelledRun, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--coco FOLDER, --webdataset FOLDER"):
        export_labels(run.request())
    with pytest.raises(ConfigError, match="leave out --teacher and --shards"):
        export_labels(run.request(waiting=True, teacher="1", coco=tmp_path / "coco"))
    with pytest.raises(ConfigError, match="is no run folder"):
        export_labels(ExportRequest(run=str(run.folder / "registry"), waiting=True, coco=tmp_path / "coco"))


def test_the_same_sample_in_two_passes_is_two_samples(run: LabelledRun) -> None:
    first = run.labels[0]
    again = msgspec.structs.replace(first, sample=SampleId(1, first.sample.shard_id, first.sample.ordinal))
    labels = [
        LabelledSample(
            message=message,
            image=picture(0, width=40, height=40),
            captions=["a dog"],
            shard_url="file:///a.tar",
            checkpoint="teacher-0",
        )
        for message in (first, again)
    ]
    samples = list(exported(labels, chosen=LabelFilter(), tally=ExportTally()))
    assert [one.facts["sample"]["pass"] for one in samples] == [0, 1]
    assert samples[1].key == f"{samples[0].key}-pass1"


def test_credentials_of_a_shard_are_not_handed_on(run: LabelledRun, tmp_path: Path) -> None:
    label = LabelledSample(
        message=run.labels[0],
        image=picture(0, width=40, height=40),
        captions=["a dog"],
        shard_url="s3://key:secret@bucket/a.tar",
        checkpoint=None,
    )
    (sample,) = exported([label], chosen=LabelFilter(), tally=ExportTally())
    assert sample.facts["sample"]["shard"] == "s3://bucket/a.tar"
    assert sample.facts["teacher"]["checkpoint"] is None
