from __future__ import annotations

import json
from pathlib import Path

import pytest

from xpm_stream.data.splits import check_classes, load_split
from xpm_stream.errors import BaseSetError, ConfigError


def test_the_coco_split_has_48_base_and_17_target_classes() -> None:
    split = load_split("coco_48_17")
    assert (len(set(split.base)), len(set(split.target)), len(set(split.all))) == (48, 17, 65)


def test_every_class_of_the_coco_split_is_a_coco_category(coco_tiny: Path) -> None:
    tree = json.loads((coco_tiny / "annotations" / "instances_val2017.json").read_text())
    check_classes(load_split("coco_48_17").all, known={row["name"] for row in tree["categories"]}, source="coco_tiny")


def test_a_split_is_read_from_any_json_file(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    path.write_text('{"base": ["cat"], "target": ["dog", "cow"]}')
    assert load_split(str(path)).all == ["cat", "dog", "cow"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"base": ["cat", "dog"], "target": ["dog"]}', "dog cannot be both base and target"),
        ('{"base": ["cat", "cat"], "target": []}', "cat is named twice in 'base'"),
        ('{"base": [], "target": ["dog"]}', "'base' names no class"),
        ('{"base": ["cat"]}', "missing required field `target`"),
        ('{"base": ["cat"], "target": [], "novel": []}', "unknown field `novel`"),
        ('{"base": "cat", "target": []}', "Expected `array`"),
        ("not json", "is not"),
    ],
)
def test_a_split_that_cannot_be_used_is_named_with_its_reason(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "split.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_split(str(path))
    assert str(path) in str(caught.value)


def test_a_split_that_is_not_there_names_the_built_in_ones() -> None:
    with pytest.raises(ConfigError, match=r"no such file.*built-in splits: coco_48_17"):
        load_split("coco_48_71")


def test_an_unknown_class_is_answered_with_the_nearest_category() -> None:
    with pytest.raises(BaseSetError, match=r"'motorbike' \(did you mean 'motorcycle'\?\)") as caught:
        check_classes(["cat", "motorbike"], known=["cat", "motorcycle"], source="annotations.json")
    assert "'cat'" not in str(caught.value)
