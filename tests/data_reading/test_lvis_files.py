"""LVIS's annotation files: names, frequencies, and images that only a URL names."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from PIL import Image

from xpm_stream.config.data_sections import BaseSetConfig
from xpm_stream.data.base_set import BaseSet
from xpm_stream.data.class_names import plain_class_names
from xpm_stream.data.coco_json import CocoImage
from xpm_stream.data.frequency_splits import lvis_split, write_split
from xpm_stream.data.splits import load_split
from xpm_stream.errors import BaseSetError
from xpm_stream.evaluation.truth import GroundTruth

NAMES = {1: ("aerosol_can", "c"), 2: ("bow_(weapon)", "r"), 3: ("bow_(decorative_ribbons)", "f"), 4: ("mug", "f")}


def write_lvis(folder: Path, **changes: Any) -> Path:
    """Two images, of two folders of COCO's, with a mug and a bow."""
    box = [2, 2, 10, 6]
    polygon = [[2, 2, 12, 2, 12, 8, 2, 8]]
    document = {
        "images": [
            {
                "id": number,
                "coco_url": f"http://images.cocodataset.org/{part}/00{number}.jpg",
                "width": 32,
                "height": 24,
                "neg_category_ids": [1],
                "not_exhaustive_category_ids": [],
            }
            for number, part in ((1, "train2017"), (2, "val2017"))
        ],
        "annotations": [
            {"id": number, "image_id": number, "category_id": kind, "bbox": box, "area": 60, "segmentation": polygon}
            for number, kind in ((1, 4), (2, 2))
        ],
        "categories": [{"id": number, "name": name, "frequency": kind} for number, (name, kind) in NAMES.items()],
    }
    (folder / "lvis.json").write_text(json.dumps(document | changes))
    return folder / "lvis.json"


def save_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(path)


@pytest.mark.parametrize("root", ["coco", "flat"])
def test_images_are_found_in_cocos_two_folders_or_in_one(tmp_path: Path, root: str) -> None:
    annotations = write_lvis(tmp_path)
    for part, name in (("train2017", "001.jpg"), ("val2017", "002.jpg")):
        save_image(tmp_path / root / (part if root == "coco" else "") / name)
    config = BaseSetConfig(annotations=str(annotations), images=str(tmp_path / root))
    loaded = BaseSet.load(config, class_names=["mug", "bow (weapon)"])
    assert [loaded[place].class_names for place in (0, 1)] == [["mug"], ["bow (weapon)"]]
    assert loaded[0].masks().sum() == 60


def test_on_a_store_the_folders_name_tells_where_images_are(tmp_path: Path) -> None:
    annotations = write_lvis(tmp_path)
    save_image(tmp_path / "one.jpg")
    store = fsspec.filesystem("memory")
    for name in ("train2017/001.jpg", "val2017/002.jpg"):
        store.pipe_file(f"/lvis-coco/{name}", (tmp_path / "one.jpg").read_bytes())
    for folder, words in (("memory://lvis-coco", ["mug", "bow (weapon)"]), ("memory://lvis-coco/train2017/", ["mug"])):
        loaded = BaseSet.load(BaseSetConfig(annotations=str(annotations), images=folder), class_names=words)
        assert [image.class_names for image in loaded] == [[word] for word in words]


def test_an_image_in_neither_place_is_missing(tmp_path: Path) -> None:
    annotations = write_lvis(tmp_path)
    save_image(tmp_path / "coco" / "train2017" / "001.jpg")
    with pytest.raises(BaseSetError, match=r"1 of the 2 images .* are not in .*: 002\.jpg"):
        BaseSet.load(
            BaseSetConfig(annotations=str(annotations), images=str(tmp_path / "coco")),
            class_names=["mug", "bow (weapon)"],
        )


def test_what_is_missing_in_a_file_is_named(tmp_path: Path) -> None:
    whole = json.loads(write_lvis(tmp_path).read_text())

    def told(part: str, field: str) -> str:
        without = [dict(item) for item in whole[part]]
        del without[1][field]
        annotations = write_lvis(tmp_path, **{part: without})
        with pytest.raises(BaseSetError) as raised:
            BaseSet.load(BaseSetConfig(annotations=str(annotations), images=str(tmp_path)), class_names=["mug"])
        return str(raised.value)

    for part, field in (("annotations", "bbox"), ("annotations", "segmentation"), ("categories", "name")):
        assert re.search(rf"lvis\.json is not .*`{field}` - at `\$\.{part}\[1\]`", told(part, field))
    assert "lvis.json: image 2 (002.jpg) has no 'width'" in told("images", "width")
    for folder in (str(tmp_path), "memory://nowhere"):
        nameless = write_lvis(tmp_path, images=[{**image, "coco_url": ""} for image in whole["images"]])
        with pytest.raises(BaseSetError, match=r"lvis\.json: image 1 has neither 'file_name' nor 'coco_url'"):
            BaseSet.load(BaseSetConfig(annotations=str(nameless), images=folder), class_names=["mug"])
    for field in ("neg_category_ids", "not_exhaustive_category_ids"):
        images = [dict(image) for image in whole["images"]]
        del images[1][field]
        with pytest.raises(BaseSetError, match=rf"lvis image 2 has no {field}"):
            GroundTruth.from_file(write_lvis(tmp_path, images=images))


def test_base_set_truth_and_split_call_classes_alike(tmp_path: Path) -> None:
    annotations = write_lvis(tmp_path)
    split = lvis_split(str(annotations))
    assert split.base == ["aerosol can", "bow (decorative ribbons)", "mug"]
    assert split.target == ["bow (weapon)"]
    assert set(split.all) == set(GroundTruth.from_file(annotations).category_ids)
    write_split(split, tmp_path / "out" / "split.json")
    assert load_split(str(tmp_path / "out" / "split.json")) == split


def test_a_file_without_frequencies_has_no_such_split(tmp_path: Path) -> None:
    annotations = write_lvis(tmp_path, categories=[{"id": place, "name": str(place)} for place in NAMES])
    with pytest.raises(BaseSetError, match="no frequency f, c or r"):
        lvis_split(str(annotations))


def test_names_lose_underscores_and_qualifiers_unless_two_would_be_one() -> None:
    assert plain_class_names(["flip-flop_(sandal)", "mug", "trash_can"]) == ["flip-flop", "mug", "trash can"]
    assert plain_class_names(["bow", "bow_(weapon)"]) == ["bow", "bow (weapon)"]
    assert plain_class_names(["monitor_(computer_equipment) computer_monitor"]) == ["monitor"]


def test_a_file_name_is_taken_as_it_is() -> None:
    named = CocoImage(id=1, file_name="val/1.jpg", coco_url="http://host/val2017/1.jpg")
    assert (named.name, named.name_in_folder, named.folder) == ("val/1.jpg", "val/1.jpg", "")
