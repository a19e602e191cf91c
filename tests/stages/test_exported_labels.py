"""Labels on their way into an export: shards that changed, labels that go meanwhile, memory, and COCO's fields."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_runs import captioned, label_all, make_run, promote_teacher, write_members
from PIL import Image

from xpm_stream.config import load_config
from xpm_stream.data.coco_instances import instance_fields
from xpm_stream.data.coco_writing import CocoWriter
from xpm_stream.label_queue import start_or_join
from xpm_stream.masks import pack_mask_bits
from xpm_stream.records import Finding, InstanceAnnotation, PseudoInstance
from xpm_stream.stages.exported_labels import LabelFilter
from xpm_stream.stages.label_export import ExportRequest, NothingExported, export_labels
from xpm_stream.stages.operating import open_queue_of

LARGE, LARGE_BYTES = 96, 480_000


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run whose labels wait, of images that are large."""
    root = tmp_path_factory.mktemp("large")
    rng = np.random.default_rng(0)
    members = []
    for number in range(LARGE):
        encoded = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (400, 400, 3), dtype=np.uint8)).save(encoded, "PNG", compress_level=0)
        assert len(encoded.getvalue()) > LARGE_BYTES
        members += [(f"{number}.png", encoded.getvalue()), (f"{number}.txt", b"a dog beside a cat")]
    write_members(root / "a.tar", members)
    data: dict[str, object] = {"shards": [str(root / "a.tar")], "payload": "inline"}
    config = make_run(root / "run", data=data, labeler={"batch_images": 1, "threads": 1, "precision": "fp32"})
    promote_teacher(config)
    with start_or_join(config.redis, run_folder=root / "run"):
        label_all(config, shards=1)
        yield root / "run"


def written_in(folder: Path) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads((folder / "annotations.json").read_bytes())
    return tree


def test_labels_whose_shard_changed_since_are_left_out_unless_they_carry_their_image(tmp_path: Path) -> None:
    shards = {"refers": tmp_path / "a.tar", "carries": tmp_path / "b.tar"}
    for payload, shard in shards.items():
        write_members(shard, captioned(0, 3))
        folder = tmp_path / payload
        config = make_run(
            folder, data={"shards": [str(shard)], "payload": "inline" if payload == "carries" else "auto"}
        )
        promote_teacher(config)
        with start_or_join(config.redis, run_folder=folder):
            label_all(config, shards=1)
            write_members(shard, captioned(4, 9))
            coco = tmp_path / f"{payload}-coco"
            if payload == "refers":
                with pytest.raises(NothingExported) as nothing:
                    export_labels(ExportRequest(run=str(folder), waiting=True, coco=coco))
                assert nothing.value.tally.left_out == {"shard_changed": 3}
                continue
            assert export_labels(ExportRequest(run=str(folder), waiting=True, coco=coco)).samples == 3
            written = written_in(coco)
            assert [image["captions"] for image in written["images"]] == [[], [], []]
            for image in written["images"]:
                content = (coco / "images" / image["file_name"]).read_bytes()
                assert Image.open(io.BytesIO(content)).size == (image["width"], image["height"])
            with pytest.raises(NothingExported) as nothing:  # shards are nothing without captions
                export_labels(ExportRequest(run=str(folder), waiting=True, webdataset=tmp_path / "shards"))
            assert nothing.value.tally.left_out == {"shard_changed": 3}


@pytest.mark.parametrize("waiting", [True, False])
def test_no_more_than_a_few_samples_are_held(large: Path, tmp_path: Path, waiting: bool) -> None:
    tracemalloc.start()
    request = ExportRequest(
        run=str(large), waiting=waiting, coco=tmp_path / "coco", webdataset=tmp_path / "shards", samples_per_shard=LARGE
    )
    tally = export_labels(request)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert tally.samples == LARGE
    assert most < LARGE * LARGE_BYTES * 0.7, "it holds the images of all samples"


def test_labels_that_a_trainer_acknowledges_meanwhile_are_counted(large: Path, tmp_path: Path) -> None:
    with open_queue_of(load_config(large / "config.yaml")) as queue:
        ids = [entry.entry_id for entry in queue.entries()]
        taken = ids[-5:]  # far behind the first page
        tally = export_labels(
            ExportRequest(run=str(large), waiting=True, coco=tmp_path / "coco"),
            on_progress=lambda _: queue.edge.client.xdel(queue.keys.labels, *taken),
        )
    assert (tally.samples, tally.left_out) == (LARGE - 5, {"gone_meanwhile": 5})


def test_what_nobody_can_read_and_what_waits_twice_is_counted(tmp_path: Path) -> None:
    write_members(tmp_path / "a.tar", captioned(0, 3))
    config = make_run(tmp_path / "run", data={"shards": [str(tmp_path / "a.tar")]})
    promote_teacher(config)
    with start_or_join(config.redis, run_folder=tmp_path / "run"):
        label_all(config, shards=1)
        with open_queue_of(config) as queue:
            client, stream = queue.edge.client, queue.keys.labels
            ((_, fields),) = client.xrange(stream, count=1)
            client.xadd(stream, fields)
            (largest,) = [name for name, value in fields.items() if value == max(fields.values(), key=len)]
            client.xadd(stream, {**fields, largest: b"no label"})
        tally = export_labels(ExportRequest(run=str(tmp_path / "run"), waiting=True, coco=tmp_path / "coco"))
    assert (tally.samples, tally.left_out) == (3, {"label_unreadable": 1, "waits_twice": 1})


def test_coco_json_is_written_without_being_held(tmp_path: Path) -> None:
    record = {"segmentation": {"size": [500, 500], "counts": "x" * 2000}}

    def peak(images: int) -> int:
        tracemalloc.start()
        with CocoWriter(tmp_path) as writer:
            for number in range(images):
                writer.add({"file_name": f"{number}.jpg"}, [(f"word {number % 7}", record)] * 5)
            writer.write(tmp_path / f"{images}.json", info={})
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(1000) < peak(50) + 300_000
    assert (tmp_path / "1000.json").stat().st_size > 10_000_000
    tree = json.loads((tmp_path / "1000.json").read_bytes())
    assert [one["id"] for one in tree["annotations"]] == list(range(1, 5001))
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".json"] == []


def test_a_mask_without_a_pixel_is_left_out_and_a_box_ends_where_its_image_does() -> None:
    full, empty = pack_mask_bits(np.ones((28, 28), dtype=np.bool_)), bytes(98)
    boxes = [(2.0, 3.0, 6.0, 9.0), (-4.0, 5.0, 4.0, 40.0), (2.2, 2.2, 2.4, 2.4), (30.0, 30.0, 50.0, 50.0)]
    annotation = InstanceAnnotation(
        instances=[PseudoInstance(word="dog", box_xyxy=box, mask_bits=full, score=0.5) for box in boxes]
        + [PseudoInstance(word="dog", box_xyxy=boxes[0], mask_bits=empty, score=0.5)]
    )
    first, cut, tiny, outside, none = instance_fields(annotation, range(5), image_size_wh=(20, 12))
    assert first is not None
    assert (first["bbox"], first["area"], first["reliability"]) == ([2.0, 3.0, 4.0, 6.0], 24, None)
    assert cut is not None
    assert (cut["bbox"], cut["area"]) == ([0.0, 5.0, 4.0, 7.0], 28)
    assert tiny is outside is none is None


def test_instances_without_reliability_are_not_called_reliable() -> None:
    finding = Finding(word="dog", score=0.9)
    assert LabelFilter(min_score=0.5).refuses(finding) is None
    assert LabelFilter(min_reliability=0.0).refuses(finding) == "without_reliability"
