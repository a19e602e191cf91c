"""Open Images' tables and PNG masks, as they are downloaded, made into an instance JSON and read back."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xpm_stream.config.data_sections import BaseSetConfig
from xpm_stream.data.base_set import BaseSet
from xpm_stream.data.frequency_splits import open_images_split, write_split
from xpm_stream.data.open_images import OpenImagesSources, write_open_images
from xpm_stream.data.splits import load_split
from xpm_stream.errors import BaseSetError, ConfigError
from xpm_stream.evaluation.truth import GroundTruth

DOG, ANIMAL, CAR, TREE = "/m/0bt9lr", "/m/0jbk", "/m/0k4j", "/m/07j7r"
WIDTH, HEIGHT = 40, 20
MASKS = [  # image, label, box in pixels
    ("aa", DOG, (4, 2, 12, 10)),
    ("aa", DOG, (20, 4, 30, 16)),
    ("bb", CAR, (0, 0, 20, 20)),
    ("bb", TREE, (8, 0, 16, 20)),
]


def table(path: Path, rows: list[dict[str, Any]]) -> str:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def shares(box: tuple[int, int, int, int], prefix: str = "") -> dict[str, float]:
    x0, y0, x1, y1 = box
    return {
        f"{prefix}XMin": x0 / WIDTH,
        f"{prefix}XMax": x1 / WIDTH,
        f"{prefix}YMin": y0 / HEIGHT,
        f"{prefix}YMax": y1 / HEIGHT,
    }


def mask_rows(masks: list[Any] = MASKS) -> list[dict[str, Any]]:
    return [
        {"MaskPath": f"{place}{image}.png", "ImageID": image, "LabelName": label, "BoxID": "x", **shares(box, "Box")}
        for place, (image, label, box) in enumerate(masks)
    ]


def draw(path: Path, box: tuple[int, int, int, int], *, scale: int = 1, mode: str = "1") -> None:
    pixels = np.zeros((HEIGHT * scale, WIDTH * scale), np.uint8)
    x0, y0, x1, y1 = (side * scale for side in box)
    pixels[y0:y1, x0:x1] = 255
    Image.fromarray(pixels).convert(mode).save(path)


@pytest.fixture
def sources(tmp_path: Path) -> OpenImagesSources:
    """Two images with masks and one without; a GroupOf box, a box without a mask, and verified labels."""
    images, masks = tmp_path / "images", tmp_path / "masks"
    images.mkdir()
    masks.mkdir()
    for name in ("aa", "bb", "cc"):
        Image.fromarray(np.full((HEIGHT, WIDTH, 3), 120, np.uint8)).save(images / f"{name}.jpg")
    for place, (image, _, box) in enumerate(MASKS):
        draw(masks / f"{place}{image}.png", box, scale=2 if place == 1 else 1, mode="L" if place == 2 else "1")
    (tmp_path / "classes.csv").write_text(f"{DOG},Dog\n{ANIMAL},Animal\n{CAR},Car\n")
    box = {"Source": "xclick", "Confidence": 1}
    almost = tuple(side + shift for side, shift in zip(MASKS[0][2], (0.1, 0.1, 0.1, 0.1), strict=True))
    boxes = [
        {"ImageID": "aa", "LabelName": DOG, **shares(almost), "IsGroupOf": 0, **box},  # has a mask
        {"ImageID": "aa", "LabelName": DOG, **shares((0, 0, 4, 4)), "IsGroupOf": 0, **box},
        {"ImageID": "bb", "LabelName": CAR, **shares((20, 0, 40, 20)), "IsGroupOf": 1, **box},
        {"ImageID": "bb", "LabelName": TREE, **shares((20, 0, 40, 20)), "IsGroupOf": 0, **box},
        {"ImageID": "zz", "LabelName": CAR, **shares((20, 0, 40, 20)), "IsGroupOf": 0, **box},
    ]
    labels = [
        {"ImageID": "aa", "Source": "verification", "LabelName": DOG, "Confidence": 1},
        {"ImageID": "aa", "Source": "verification", "LabelName": CAR, "Confidence": 0},
        {"ImageID": "cc", "Source": "verification", "LabelName": ANIMAL, "Confidence": 0},
        {"ImageID": "cc", "Source": "machine", "LabelName": CAR, "Confidence": 0.7},
    ]
    (tmp_path / "hierarchy.json").write_text(
        json.dumps(
            {
                "LabelName": "/m/root",
                "Subcategory": [
                    {"LabelName": ANIMAL, "Subcategory": [{"LabelName": DOG}]},
                    {"LabelName": CAR, "Part": [{"LabelName": DOG}]},
                ],
            }
        )
    )
    return OpenImagesSources(
        masks=table(tmp_path / "masks.csv", mask_rows()),
        mask_files=str(masks),
        images=str(images),
        class_names=str(tmp_path / "classes.csv"),
        boxes=table(tmp_path / "boxes.csv", boxes),
        image_labels=table(tmp_path / "labels.csv", labels),
    )


def changed(sources: OpenImagesSources, **changes: Any) -> OpenImagesSources:
    fields = ("masks", "mask_files", "images", "class_names", "boxes", "image_labels", "hierarchy")
    return OpenImagesSources(**{name: getattr(sources, name) for name in fields} | changes)


def of_class(document: dict[str, Any], name: str) -> list[dict[str, Any]]:
    number = next(item["id"] for item in document["categories"] if item["name"] == name)
    return [item for item in document["annotations"] if item["category_id"] == number]


def test_masks_boxes_and_labels_are_written(sources: OpenImagesSources, tmp_path: Path) -> None:
    summary = write_open_images(sources, tmp_path / "out" / "instances.json")
    assert (summary.images, summary.masks, summary.groups, summary.boxes_without_mask) == (3, 3, 1, 1)
    assert summary.left_out == {"masks of other classes": 1}
    document = json.loads((tmp_path / "out" / "instances.json").read_bytes())
    assert [item["name"] for item in document["categories"]] == ["dog", "animal", "car"]
    assert [item["file_name"] for item in document["images"]] == ["aa.jpg", "bb.jpg", "cc.jpg"]
    verified = {item["file_name"]: (item["pos_category_ids"], item["neg_category_ids"]) for item in document["images"]}
    assert verified == {"aa.jpg": ([1], [3]), "bb.jpg": ([], []), "cc.jpg": ([], [2])}
    first, second, extra = of_class(document, "dog")
    assert (first["bbox"], first["area"], first["iscrowd"]) == (pytest.approx([4, 2, 8, 8]), 64, 0)
    assert second["area"] == 10 * 12, "its PNG is twice as large as the image"
    assert (extra["is_box_only"], extra["iscrowd"], extra["bbox"]) == (1, 1, pytest.approx([0, 0, 4, 4]))
    car, group = of_class(document, "car")
    assert (car["area"], group["is_group_of"], group["iscrowd"]) == (400, 1, 1)
    assert of_class(document, "animal") == []


def test_what_is_written_is_a_base_set_and_an_evaluations_truth(sources: OpenImagesSources, tmp_path: Path) -> None:
    output = tmp_path / "instances.json"
    write_open_images(sources, output)
    loaded = BaseSet.load(BaseSetConfig(annotations=str(output), images=sources.images), class_names=["dog", "car"])
    image = loaded[0]
    assert image.class_names == ["dog", "dog", "dog"]
    assert image.is_crowd.tolist() == [False, False, True]
    drawn = np.zeros((HEIGHT, WIDTH), np.uint8)
    drawn[4:16, 20:30] = 1
    assert np.array_equal(image.masks()[1], drawn)
    truth = GroundTruth.from_file(output)
    assert truth.protocol == "open_images"
    assert truth.images_to_judge(["dog"]) == [1]
    assert truth.images_to_judge(["car"]) == [1, 2], "in the first image it is verified absent"
    assert truth.images_to_judge(["animal"]) == [3]


def test_a_hierarchy_expands_what_is_there_upwards_and_what_is_not_downwards(
    sources: OpenImagesSources, tmp_path: Path
) -> None:
    output = tmp_path / "instances.json"
    write_open_images(changed(sources, hierarchy=str(tmp_path / "hierarchy.json")), output)
    document = json.loads(output.read_bytes())
    assert [item["bbox"] for item in of_class(document, "animal")] == [
        item["bbox"] for item in of_class(document, "dog")
    ]
    verified = {item["file_name"]: (item["pos_category_ids"], item["neg_category_ids"]) for item in document["images"]}
    assert verified == {"aa.jpg": ([1, 2], [3]), "bb.jpg": ([], []), "cc.jpg": ([], [1, 2])}
    assert len({item["id"] for item in document["annotations"]}) == len(document["annotations"])
    assert len(of_class(document, "car")) == 2, "a part is not a kind"


def test_masks_in_folders_by_first_character_and_several_processes_give_the_same_file(
    sources: OpenImagesSources, tmp_path: Path
) -> None:
    write_open_images(sources, tmp_path / "one.json")
    for file in list(Path(sources.mask_files).iterdir()):
        (file.parent / file.name[0]).mkdir()
        file.rename(file.parent / file.name[0] / file.name)
    seen: list[int] = []
    write_open_images(sources, tmp_path / "two.json", workers=2, on_progress=seen.append)
    assert (tmp_path / "two.json").read_bytes() == (tmp_path / "one.json").read_bytes()
    assert seen == [1, 2, 3]


def test_masks_that_are_empty_or_of_another_shape_are_counted(sources: OpenImagesSources, tmp_path: Path) -> None:
    draw(Path(sources.mask_files) / "0aa.png", (0, 0, 0, 0))
    Image.fromarray(np.full((WIDTH, HEIGHT), 255, np.uint8)).save(Path(sources.mask_files) / "1aa.png")
    summary = write_open_images(sources, tmp_path / "out.json")
    assert summary.masks == 1
    assert summary.left_out["empty masks"] == summary.left_out["masks of another shape than their image"] == 1
    assert f"1 empty masks (first: {sources.masks}, line 2, 0aa.png)" in str(summary)
    assert f"1 masks of another shape than their image (first: {sources.masks}, line 3, 1aa.png)" in str(summary)


def test_missing_images_are_an_error_unless_allowed(sources: OpenImagesSources, tmp_path: Path) -> None:
    (Path(sources.images) / "bb.jpg").unlink()
    with pytest.raises(BaseSetError, match=r"1 of 3 images are not in .*bb\.jpg.*--allow-missing-images"):
        write_open_images(sources, tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()
    summary = write_open_images(sources, tmp_path / "out.json", allow_missing_images=True)
    assert (summary.images, summary.left_out["images without a file"]) == (2, 1)
    assert "1 images without a file (first: bb.jpg)" in str(summary)


def test_broken_files_are_named(sources: OpenImagesSources, tmp_path: Path) -> None:
    def told(**changes: Any) -> str:
        with pytest.raises(BaseSetError) as raised:
            write_open_images(changed(sources, **changes), tmp_path / "out.json")
        assert not list(tmp_path.glob("out.json*"))
        return str(raised.value)

    assert "no such file" in told(masks=str(tmp_path / "absent.csv"))
    assert "has no column MaskPath" in told(masks=sources.boxes)
    wrong = mask_rows()
    wrong[1]["BoxXMax"] = "wide"
    assert "line 3: 'wide' is no number" in told(masks=table(tmp_path / "wide.csv", wrong))
    wrong[1]["BoxXMax"] = 0.0
    assert "line 3" in told(masks=table(tmp_path / "thin.csv", wrong))
    gone = [*mask_rows(), {**mask_rows()[0], "MaskPath": "gone.png"}]
    assert "gone.csv, line 6: there is no mask" in told(masks=table(tmp_path / "gone.csv", gone))
    in_pixels = [{**mask_rows()[0], "BoxXMin": 4, "BoxXMax": 12}]
    assert "line 2: 4.0, 0.1, 12.0, 0.5 is no box in shares" in told(masks=table(tmp_path / "pixels.csv", in_pixels))
    for column in ("MaskPath", "ImageID", "LabelName"):
        empty = [mask_rows()[0], {**mask_rows()[1], column: ""}]
        assert f"empty.csv, line 3: {column} is empty" in told(masks=table(tmp_path / "empty.csv", empty))
    box = {"ImageID": "aa", "LabelName": DOG, **shares((0, 0, 4, 4)), "IsGroupOf": "true"}
    assert "line 2: IsGroupOf is 'true'" in told(boxes=table(tmp_path / "group.csv", [box]))
    assert "(0 or 1)" in told(
        image_labels=table(
            tmp_path / "machine.csv", [{"ImageID": "aa", "LabelName": DOG, "Confidence": 0.4, "Source": "verification"}]
        )
    )
    (tmp_path / "twice.csv").write_text(f"{DOG},Dog\n{CAR},dog\n")
    assert "several labels are named 'dog'" in told(class_names=str(tmp_path / "twice.csv"))
    for rows, said in ((f"{DOG},Dog\n{DOG},Cat\n", f"{DOG} is there more"), (f"{DOG},Dog\n{CAR},\n", f"not '{CAR},'")):
        (tmp_path / "rows.csv").write_text(rows)
        assert said in told(class_names=str(tmp_path / "rows.csv"))
    (tmp_path / "list.json").write_text("[]")
    assert "no tree" in told(hierarchy=str(tmp_path / "list.json"))
    (Path(sources.mask_files) / "0aa.png").write_bytes(b"no PNG")
    assert re.search(r"masks\.csv, line 2: mask .*0aa\.png cannot be decoded", told())


def test_an_output_that_is_a_folder_or_a_url_is_told_at_once(sources: OpenImagesSources, tmp_path: Path) -> None:
    with pytest.raises(BaseSetError, match="is a folder: name the file"):
        write_open_images(changed(sources, masks="absent.csv"), tmp_path)
    split = open_images_split(sources.masks, sources.class_names, num_base=1, num_target=1)
    url = Path("s3://bucket/out.json")
    with pytest.raises(ConfigError, match="is a URL"):
        write_open_images(sources, url)
    with pytest.raises(ConfigError, match="is a URL"):
        write_split(split, url)


@pytest.mark.parametrize("form", ["mark", "quotes", "windows"])
def test_tables_are_read_however_a_spreadsheet_saved_them(
    sources: OpenImagesSources, tmp_path: Path, form: str
) -> None:
    write_open_images(sources, tmp_path / "plain.json")
    for name in ("masks", "boxes", "image_labels", "class_names"):
        file = Path(getattr(sources, name))
        text = file.read_text().replace("\r\n", "\n")
        if form == "quotes":
            text = re.sub(r"[^,\n]+", r'"\g<0>"', text)
        file.write_bytes(
            text.replace("\n", "\r\n" if form == "windows" else "\n").encode("utf-8-sig" if form == "mark" else "utf-8")
        )
    write_open_images(sources, tmp_path / "other.json")
    assert (tmp_path / "other.json").read_bytes() == (tmp_path / "plain.json").read_bytes()


def test_the_split_by_frequency_takes_the_most_common_and_the_rarest(tmp_path: Path) -> None:
    counts = {"oak": 5, "elm": 5, "ash": 3, "fir": 2, "yew": 1}
    (tmp_path / "classes.csv").write_text("LabelName,DisplayName\n" + "".join(f"/m/{one},{one}\n" for one in counts))
    rows = [{**mask_rows()[0], "LabelName": f"/m/{name}"} for name, count in counts.items() for _ in range(count)]
    masks = table(tmp_path / "masks.csv", [*rows, {**rows[0], "LabelName": "/m/other"}])
    split = open_images_split(masks, str(tmp_path / "classes.csv"), num_base=2, num_target=2)
    assert (split.base, split.target) == (["elm", "oak"], ["fir", "yew"])
    with pytest.raises(BaseSetError, match=r"masks of 5 of the 5 classes .* too few for 200 base and 100 target"):
        open_images_split(masks, str(tmp_path / "classes.csv"))


def test_the_commands_write_what_the_functions_do(
    sources: OpenImagesSources, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from xpm_stream.cli.main import main

    def run(*arguments: str) -> str:
        monkeypatch.setattr("sys.argv", ["xpm-stream", "datasets", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        return capsys.readouterr().out

    write_open_images(sources, tmp_path / "expected.json")
    common = ["--masks", sources.masks, "--class-names", sources.class_names]
    said = run(
        "open-images", str(tmp_path / "made.json"), *common, "--mask-files", sources.mask_files,
        "--images", sources.images, "--boxes", str(sources.boxes), "--image-labels", str(sources.image_labels),
    )  # fmt: skip
    assert "3 images, 3 masks, 1 GroupOf boxes" in said
    assert (tmp_path / "made.json").read_bytes() == (tmp_path / "expected.json").read_bytes()
    run("open-images-split", str(tmp_path / "split.json"), *common, "--base", "1", "--target", "1")
    split = load_split(str(tmp_path / "split.json"))
    assert (split.base, split.target) == (["dog"], ["car"])
