"""Predictions become COCO JSON that pycocotools reads back, `supervision.Detections`, and pictures."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from xpm_stream.errors import DataError
from xpm_stream.masks import encode_rle
from xpm_stream.stages.drawing import colour_of
from xpm_stream.stages.predicting import Predictor
from xpm_stream.stages.predictions import Prediction, Predictions

WORDS = ["dog", "umbrella", "astronaut"]


@pytest.fixture(scope="module")
def found(model: Predictor, photo: Path) -> Predictions:
    pixels = np.random.default_rng(1).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    found = model.predict([photo, pixels], WORDS)
    assert all(len(one) > 2 for one in found)
    return found


def quiet_coco(dataset: dict[str, Any]) -> COCO:
    coco = COCO()
    coco.dataset = dataset
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def loaded_results(images: list[dict[str, Any]], results: list[dict[str, Any]]) -> COCO:
    truth = quiet_coco(
        {"images": images, "annotations": [], "categories": [{"id": 1}, {"id": 2}, {"id": 3}], "info": {}}
    )
    with contextlib.redirect_stdout(io.StringIO()):
        return truth.loadRes(results)


def test_coco_results_are_read_back_by_pycocotools(found: Predictions) -> None:
    results = json.loads(json.dumps(found.to_coco(image_ids=[37, 12])))
    images = [{"id": 37, "width": 70, "height": 50}, {"id": 12, "width": 60, "height": 40}]
    read = loaded_results(images, results)
    for image_id, one in zip([37, 12], found, strict=True):
        annotations = read.loadAnns(read.getAnnIds(imgIds=[image_id]))
        assert len(annotations) == len(one)
        for annotation, mask, box, score, word, trust in zip(
            annotations, one.masks, one.boxes, one.scores, one.words, one.reliability, strict=True
        ):
            assert np.array_equal(read.annToMask(annotation).astype(bool), mask)
            x, y, width, height = annotation["bbox"]
            assert [x, y, x + width, y + height] == pytest.approx(box.tolist())
            assert annotation["score"] == pytest.approx(float(score))
            assert annotation["reliability"] == pytest.approx(float(trust))
            assert WORDS[annotation["category_id"] - 1] == word


def test_a_whole_coco_data_set_names_images_and_categories(found: Predictions, photo: Path, tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    path.write_text(json.dumps(found.to_coco_dataset()))
    with contextlib.redirect_stdout(io.StringIO()):
        read = COCO(str(path))
    assert [image["file_name"] for image in read.loadImgs(read.getImgIds())] == [str(photo), ""]
    assert {number: category["name"] for number, category in read.cats.items()} == dict(enumerate(WORDS, start=1))
    (first,) = read.loadAnns(1)
    assert first["area"] == int(found[0].masks[0].sum())
    assert len(read.anns) == sum(map(len, found))


def test_category_ids_may_be_those_of_other_annotations(found: Predictions) -> None:
    ids = {"dog": 18, "umbrella": 28, "astronaut": 7}
    assert [one["category_id"] for one in found[0].to_coco(3, categories=ids)] == [ids[word] for word in found[0].words]
    with pytest.raises(DataError, match="categories gives no id for "):
        found[0].to_coco(3, categories={"cat": 17})


def test_as_many_image_ids_as_images_are_wanted(found: Predictions) -> None:
    with pytest.raises(DataError, match="1 image ids do not belong to 2 images"):
        found.to_coco([5])


def test_supervision_gets_boxes_masks_scores_and_words(found: Predictions) -> None:
    supervision = pytest.importorskip("supervision", reason="supervision is not installed: pip install supervision")
    one = found[0]
    detections = one.to_supervision()
    assert isinstance(detections, supervision.Detections)
    assert np.array_equal(detections.xyxy, one.boxes)
    assert np.array_equal(detections.mask, one.masks)
    assert np.array_equal(detections.confidence, one.scores)
    assert [WORDS[index] for index in detections.class_id] == one.words
    assert detections.data["class_name"].tolist() == one.words
    assert np.array_equal(detections.data["reliability"], one.reliability)
    assert len(one.above(1.0).to_supervision()) == 0


def test_without_supervision_its_package_is_named() -> None:
    script = (
        "import sys; sys.modules['supervision'] = None\n"
        "import numpy as np\n"
        "from xpm_stream.stages.predictions import Prediction\n"
        "none = np.zeros((0, 4), np.float32)\n"
        "Prediction(boxes=none, scores=none[:, 0], words=[], reliability=None, rles=[], size_wh=(1, 1), asked=(),"
        " model='m', name=None, read_pixels=None).to_supervision()\n"
    )
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert "DataError: to_supervision() needs the package supervision: pip install supervision" in finished.stderr


def painted(words: list[str], boxes: list[tuple[int, int, int, int]], size: int = 200) -> Prediction:
    """Objects that fill their boxes, on black."""
    masks = np.zeros((len(boxes), size, size), dtype=bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return Prediction(
        boxes=np.array(boxes, dtype=np.float32),
        scores=np.linspace(0.9, 0.5, len(words), dtype=np.float32),
        words=words,
        reliability=None,
        rles=[encode_rle(mask) for mask in masks],
        size_wh=(size, size),
        asked=tuple(dict.fromkeys(words)),
        model="m",
        name=None,
        read_pixels=lambda: np.zeros((size, size, 3), dtype=np.uint8),
    )


def pixel(picture: Image.Image, place: tuple[int, int]) -> np.ndarray[Any, Any]:
    return np.array(picture)[place[1], place[0]].astype(int)


def test_a_word_has_one_colour_and_the_better_object_lies_on_top() -> None:
    pair = painted(["dog", "cat", "dog"], [(20, 20, 100, 100), (60, 60, 160, 160), (120, 20, 190, 50)]).draw(
        long_side=800
    )
    dog, cat, other_dog = (pixel(pair, place) for place in [(200, 350), (560, 560), (600, 180)])
    shared = pixel(pair, (320, 320))
    assert np.array_equal(dog, other_dog)
    assert np.array_equal(shared, dog)
    assert not np.array_equal(dog, cat)
    assert dog == pytest.approx(0.45 * np.array(colour_of("dog")), abs=2)
    assert np.array_equal(pixel(pair, (700, 700)), [0, 0, 0])
    assert colour_of("Dog") == colour_of("dog")


def test_every_word_can_be_read_on_its_plate() -> None:
    for number in range(500):
        shares = np.array(colour_of(f"word {number}")) / 255
        linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
        assert 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05) >= 4.5, "WCAG's contrast to white"


def test_the_better_object_keeps_its_word_where_words_have_no_room() -> None:
    words = [f"word {number}" for number in range(80)]
    crowd = painted(words, [(150, 150, 199, 199)] * 80).draw()
    alone = painted(words[:1], [(150, 150, 199, 199)]).draw()
    plate = (np.array(alone).astype(int) == colour_of(words[0])).all(axis=2)
    plate[480:] = False  # its box lies there
    assert plate.sum() > 500
    assert (np.array(crowd)[plate] == colour_of(words[0])).all()
    last = (np.array(crowd)[600:] == colour_of(words[-1])).all(axis=2)
    assert last.sum() < 300, "the worst lies below those that came before"


def test_many_objects_of_a_photograph_are_drawn_in_little_memory() -> None:
    many = painted(["dog"] * 60, [(100, 100, 1900, 1900)] * 60, size=2000)
    tracemalloc.start()
    many.draw()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 120e6, "60 masks at once take 240 MB"


def test_small_images_are_drawn_large_enough_to_read_and_large_ones_as_they_are() -> None:
    assert painted(["dog"], [(10, 10, 60, 60)]).draw().size == (640, 640)
    assert painted(["dog"], [(10, 10, 60, 60)], size=900).draw().size == (900, 900)
    assert painted(["dog"], [(10, 10, 60, 60)], size=900).draw(long_side=100).size == (100, 100)


def test_what_scores_too_low_is_not_drawn() -> None:
    two = painted(["dog", "cat"], [(20, 60, 100, 100), (120, 120, 160, 160)])
    assert np.array_equal(pixel(two.draw(score_threshold=0.6, long_side=200), (140, 150)), [0, 0, 0])


def test_an_image_that_is_gone_is_named_when_it_is_to_be_drawn(model: Predictor, photo: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.png"
    copy.write_bytes(photo.read_bytes())
    found = model.predict(copy, WORDS)
    copy.unlink()
    with pytest.raises(DataError, match=f"cannot read image {copy}: no such file"):
        found.draw()
