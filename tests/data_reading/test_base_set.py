from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from xpm_stream.config.data_sections import BaseSetConfig
from xpm_stream.data.base_set import BaseSampler, BaseSet
from xpm_stream.data.splits import load_split
from xpm_stream.errors import BaseSetError

POLYGON = [[2.0, 2.0, 12.0, 2.0, 12.0, 8.0, 2.0, 8.0]]
Tree = dict[str, Any]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """COCO JSON of two 20 x 10 images: a cat and a crowd of dogs; a dog; and a third image without annotations."""
    for number in (1, 2, 3):
        Image.new("RGB", (20, 10), (number, 0, 0)).save(tmp_path / f"{number}.png")
    crowd = {"size": [10, 20], "counts": [100, 50, 50]}
    return {
        "images": [{"id": n, "file_name": f"{n}.png", "width": 20, "height": 10} for n in (1, 2, 3)],
        "categories": [{"id": 5, "name": "cat"}, {"id": 7, "name": "dog"}, {"id": 9, "name": "cow"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 5, "bbox": [2, 2, 10, 6], "segmentation": POLYGON, "iscrowd": 0},
            {"id": 2, "image_id": 1, "category_id": 7, "bbox": [10, 0, 5, 10], "segmentation": crowd, "iscrowd": 1},
            {"id": 3, "image_id": 2, "category_id": 7, "bbox": [15, 5, 50, 50], "segmentation": POLYGON},
        ],
    }


Load = Callable[..., BaseSet]


@pytest.fixture
def load(tmp_path: Path, tree: Tree) -> Load:
    """A function that writes the tree and loads it."""

    def write_and_load(class_names: tuple[str, ...] = ("cat", "dog"), **options: Any) -> BaseSet:
        path = tmp_path / "instances.json"
        path.write_text(json.dumps(tree))
        return BaseSet.load(
            BaseSetConfig(annotations=str(path), images=str(tmp_path)), class_names=class_names, **options
        )

    return write_and_load


def test_images_come_with_boxes_masks_names_and_crowds(load: Load) -> None:
    base_set = load()
    assert len(base_set) == 2
    first = base_set[0]
    assert (first.image_id, first.class_names, first.is_crowd.tolist()) == (1, ["cat", "dog"], [False, True])
    assert first.pixels.shape == (10, 20, 3)
    assert first.boxes_xyxy.tolist() == [[2, 2, 12, 8], [10, 0, 15, 10]]
    masks = first.masks()
    assert (masks.shape, masks.dtype) == ((2, 10, 20), np.uint8)
    assert masks[0].sum() == 60
    assert masks[0, 2:8, 2:12].all()
    assert masks[1, :, 10:15].all()
    assert masks[1].sum() == 50


def test_boxes_are_clipped_to_the_image(load: Load, tree: Tree) -> None:
    assert load()[1].boxes_xyxy.tolist() == [[15, 5, 20, 10]]
    tree["annotations"][2]["bbox"] = [-1.5, -2, 5, 5]
    assert load()[1].boxes_xyxy.tolist() == [[0, 0, 3.5, 3]]


def test_only_the_asked_classes_are_loaded_and_the_rest_is_counted(load: Load) -> None:
    base_set = load(("cat", "cow"))
    assert [image.image_id for image in base_set] == [1]
    assert base_set.class_counts == {"cat": 1, "cow": 0}
    summary = base_set.summary
    assert (summary.images, summary.instances, summary.crowds) == (1, 1, 0)
    assert (summary.images_without_instances, summary.instances_of_other_classes) == (2, 2)
    assert "2 images without any of the classes (left out)" in str(summary)


def test_images_without_the_classes_can_be_kept(load: Load) -> None:
    base_set = load(("cat",), keep_images_without_instances=True)
    assert [image.image_id for image in base_set] == [1, 2, 3]
    assert base_set[2].masks().shape == (0, 10, 20)
    assert base_set[2].boxes_xyxy.shape == (0, 4)
    assert "(kept)" in str(base_set.summary)


def test_crowds_do_not_count_as_instances_of_their_class(load: Load) -> None:
    assert load().class_counts == {"cat": 1, "dog": 1}


def test_an_instance_without_area_is_left_out_and_counted(load: Load, tree: Tree) -> None:
    tree["annotations"][2]["bbox"] = [20, 5, 5, 5]
    base_set = load()
    assert (len(base_set), base_set.summary.instances_without_area) == (1, 1)


def test_compressed_and_uncompressed_rle_are_the_same_mask(load: Load, tree: Tree) -> None:
    compressed = coco_mask.frPyObjects({"size": [10, 20], "counts": [100, 50, 50]}, 10, 20)
    tree["annotations"][0]["segmentation"] = {"size": [10, 20], "counts": compressed["counts"].decode()}
    masks = load()[0].masks()
    assert np.array_equal(masks[0], masks[1])


def test_compressed_rle_of_any_mask_is_accepted(load: Load, tree: Tree) -> None:
    rng = np.random.default_rng(0)
    for density in (0.0, 0.02, 0.5, 1.0):
        mask = (rng.random((10, 20)) < density).astype(np.uint8)
        rle = coco_mask.encode(np.asfortranarray(mask))
        tree["annotations"][0]["segmentation"] = {"size": [10, 20], "counts": rle["counts"].decode()}
        assert np.array_equal(load()[0].masks()[0], mask)


def test_lvis_images_are_found_by_their_url(load: Load, tree: Tree) -> None:
    for image in tree["images"]:
        image["coco_url"] = f"http://images.example/train/{image.pop('file_name')}"
    assert load()[1].image_id == 2


def _set(tree: Tree, *path: Any, value: Any) -> None:
    for step in path[:-1]:
        tree = tree[step]
    tree[path[-1]] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("annotations", 0, "image_id"), 99, "annotation 1 is of image 99, which is not in 'images'"),
        (("annotations", 0, "category_id"), 99, "annotation 1 is of category 99, which is not in 'categories'"),
        (("annotations", 1, "id"), 1, "annotation id 1 is there more than once"),
        (("images", 1, "id"), 1, "image id 1 is there more than once"),
        (("categories", 1, "name"), "cat", "category name 'cat' is there more than once"),
        (("images", 0, "width"), 0, r"image 1 \(1.png\) has no 'width' and 'height'"),
        (("annotations", 0, "bbox"), [1, 2, 3], "not COCO instance JSON"),
        (("annotations", 0, "segmentation"), [[1, 2, 3, 4, 5]], "a polygon has 5 numbers"),
        (("annotations", 0, "segmentation"), [[1, 2, 3, 4]], "a polygon has 4 numbers"),
        (("annotations", 0, "segmentation"), [[1, 2, 3, 4, 5, "6"]], "must be a list of numbers"),
        (("annotations", 0, "segmentation"), [], "neither polygons nor RLE"),
        (("annotations", 0, "segmentation"), "poly", "neither polygons nor RLE"),
        (("annotations", 1, "segmentation", "size"), [20, 10], r"size \[20, 10\], its image is 10 x 20"),
        (("annotations", 1, "segmentation", "counts"), [100, 50, 49], "covers 199 pixels, its image has 200"),
        (("annotations", 1, "segmentation", "counts"), [100, -50, 150], "whole numbers from 0"),
        (("annotations", 1, "segmentation", "counts"), [100, [50], 50], "whole numbers from 0"),
        (("annotations", 1, "segmentation", "counts"), "\x00\x01", "characters that none has"),
        (("annotations", 1, "segmentation", "counts"), "P", "ends in the middle of a number"),
        (("annotations", 1, "segmentation", "counts"), "5", "covers 5 pixels"),
    ],
)
def test_an_annotation_that_cannot_be_used_is_named(
    load: Load, tree: Tree, path: tuple[Any, ...], value: Any, message: str
) -> None:
    _set(tree, *path, value=value)
    with pytest.raises(BaseSetError, match=message) as caught:
        load()
    assert "instances.json" in str(caught.value)


def test_an_unknown_class_is_answered_with_the_nearest_category(load: Load) -> None:
    with pytest.raises(BaseSetError, match=r"no category 'dogg' \(did you mean 'dog'\?\)"):
        load(("cat", "dogg"))


def test_missing_image_files_are_counted_and_named_at_load(load: Load, tmp_path: Path) -> None:
    (tmp_path / "2.png").unlink()
    with pytest.raises(BaseSetError, match=r"1 of the 2 images .* are not in .*: 2\.png"):
        load()


def test_a_missing_image_on_a_remote_store_is_named_when_it_is_read(tree: Tree) -> None:
    with fsspec.open("memory://remote/instances.json", "w") as file:
        json.dump(tree, file)
    config = BaseSetConfig(annotations="memory://remote/instances.json", images="memory://remote/nothing")
    base_set = BaseSet.load(config, class_names=["cat"])
    with pytest.raises(BaseSetError, match=r"cannot read image 1 .* at memory://remote/nothing/1\.png: no such file"):
        base_set[0]


def test_a_broken_or_resized_image_is_named(load: Load, tmp_path: Path) -> None:
    base_set = load()
    (tmp_path / "1.png").write_bytes(b"broken")
    with pytest.raises(BaseSetError, match=r"image 1 of .*1\.png: the image \(6 bytes\) cannot be decoded"):
        base_set[0]
    Image.new("RGB", (30, 10)).save(tmp_path / "2.png")
    with pytest.raises(BaseSetError, match=r"is 30 x 10 pixels, but .* annotates it as 20 x 10"):
        base_set[1]


def test_a_set_without_any_of_the_classes_is_an_error(load: Load) -> None:
    with pytest.raises(BaseSetError, match="no image has any of the 1 classes"):
        load(("cow",))


@pytest.mark.parametrize(("text", "message"), [("{", "not COCO instance JSON"), (None, "no such file")])
def test_an_annotation_file_that_cannot_be_read_is_named(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "broken.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BaseSetError, match=message) as caught:
        BaseSet.load(BaseSetConfig(annotations=str(path), images=str(tmp_path)), class_names=["cat"])
    assert "broken.json" in str(caught.value)


def test_real_coco_masks_are_those_of_pycocotools(coco_tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    annotations = coco_tiny / "annotations" / "instances_val2017.json"
    theirs = COCO(str(annotations))
    config = BaseSetConfig(annotations=str(annotations), images=str(coco_tiny / "val2017"))
    ours = BaseSet.load(config, class_names=load_split("coco_48_17").all)
    ids = set(theirs.getCatIds(catNms=load_split("coco_48_17").all))
    assert any(image.is_crowd.any() for image in ours)
    for image in ours:
        rows = [row for row in theirs.imgToAnns[image.image_id] if row["category_id"] in ids]
        assert [theirs.cats[row["category_id"]]["name"] for row in rows] == image.class_names
        for row, mask, box in zip(rows, image.masks(), image.boxes_xyxy, strict=True):
            assert np.array_equal(theirs.annToMask(row), mask)
            x, y, width, height = row["bbox"]
            assert np.allclose(box, [x, y, x + width, y + height], atol=0.02)


def test_the_base_half_of_coco_tiny_loads(coco_tiny: Path) -> None:
    config = BaseSetConfig(
        annotations=str(coco_tiny / "annotations" / "instances_train2017.json"), images=str(coco_tiny / "train2017")
    )
    base_set = BaseSet.load(config, class_names=load_split("coco_48_17").base)
    summary = base_set.summary
    assert len(base_set) + summary.images_without_instances == 208
    assert summary.instances + summary.instances_of_other_classes + summary.instances_without_area == 1678
    assert sum(base_set.class_counts.values()) == summary.instances - summary.crowds


def test_a_sampler_visits_every_image_once_in_each_pass(load: Load) -> None:
    base_set = load(("cat",), keep_images_without_instances=True)
    sampler = BaseSampler(base_set, seed=3)
    drawn = sampler.take(2) + sampler.take(5) + sampler.take(2)
    assert [sorted(drawn[start : start + 3]) for start in (0, 3, 6)] == [[0, 1, 2]] * 3


def test_a_sampler_goes_on_from_a_saved_state_and_differs_by_seed(coco_tiny: Path) -> None:
    config = BaseSetConfig(
        annotations=str(coco_tiny / "annotations" / "instances_val2017.json"), images=str(coco_tiny / "val2017")
    )
    base_set = BaseSet.load(config, class_names=["person", "dog"])
    sampler = BaseSampler(base_set, seed=1)
    sampler.take(2 * len(base_set) + 3)
    state = json.loads(json.dumps(sampler.state()))
    resumed = BaseSampler(base_set, seed=2)
    assert resumed.take(10) != BaseSampler(base_set, seed=1).take(10)
    resumed.load_state(state)
    assert resumed.take(100) == sampler.take(100)


def test_each_pass_has_an_order_of_its_own(coco_tiny: Path) -> None:
    config = BaseSetConfig(
        annotations=str(coco_tiny / "annotations" / "instances_val2017.json"), images=str(coco_tiny / "val2017")
    )
    base_set = BaseSet.load(config, class_names=["person"])
    drawn = BaseSampler(base_set, seed=1).take(2 * len(base_set))
    assert drawn[: len(base_set)] != drawn[len(base_set) :]


def test_a_state_of_another_set_is_refused(load: Load) -> None:
    state = BaseSampler(load(), seed=1).state()
    with pytest.raises(BaseSetError, match="has 1 images now, but had 2"):
        BaseSampler(load(("cat",)), seed=1).load_state(state)
