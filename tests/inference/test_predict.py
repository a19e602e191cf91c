"""`xpm_stream.load(...).predict(...)`: any image in any form, the detections that `evaluate` judges."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_models import WriteModel  # type: ignore[import-not-found]

import xpm_stream
from xpm_stream.config.loading import parse_config
from xpm_stream.errors import ConfigError, DataError, RegistryError, TextError
from xpm_stream.masks import decode_rle
from xpm_stream.stages.loaded_model import load_model
from xpm_stream.stages.predicting import Predictor
from xpm_stream.stages.predictions import Prediction, Predictions

WORDS = ["dog", "umbrella", "astronaut"]


def array_of(path: Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as image:
        return np.array(image)


def random_image(height: int, width: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def assert_same(one: Prediction, other: Prediction) -> None:
    assert np.array_equal(one.boxes, other.boxes)
    assert np.array_equal(one.scores, other.scores)
    assert (one.words, one.rles, one.size_wh) == (other.words, other.rles, other.size_wh)


@pytest.fixture
def web(photo: Path) -> Iterator[str]:
    """The photo's folder on a web server."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(photo.parent)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("sizes", [[(50, 70)] * 3, [(50, 70), (90, 40), (64, 64), (50, 70)]])
def test_predictions_are_the_detections_that_evaluate_judges(model: Predictor, sizes: list[tuple[int, int]]) -> None:
    images = [random_image(*size, seed=seed) for seed, size in enumerate(sizes)]
    if len(set(sizes)) == 1:
        (expected,) = model.loaded.detect(images, [WORDS])
    else:  # each as alone, those of one size together
        (first, last), (second,), (third,) = (
            model.loaded.detect(some, [WORDS])[0] for some in ([images[0], images[3]], [images[1]], [images[2]])
        )
        expected = [first, second, third, last]
    found = model.predict(images, WORDS)
    assert isinstance(found, Predictions)
    assert sum(map(len, found)) > 10
    for ours, theirs in zip(found, expected, strict=True):
        assert np.array_equal(ours.boxes, theirs.boxes_xyxy)
        assert np.array_equal(ours.scores, theirs.scores)
        assert ours.words == list(theirs.class_names)
        assert ours.rles == list(theirs.masks)


def test_one_image_in_any_form_gives_one_prediction(model: Predictor, photo: Path, web: str) -> None:
    array = array_of(photo)
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    expected = model.predict(array, WORDS)
    assert isinstance(expected, Prediction)
    assert len(expected) > 0
    wanting_gradients = (tensor / 255).requires_grad_()
    files = [photo, str(photo), photo.as_uri(), f"{web}/{photo.name}"]
    forms = [*files, Image.fromarray(array), tensor, tensor / 255, wanting_gradients]
    for form in forms:
        assert_same(model.predict(form, WORDS), expected)
    assert model.predict(photo, WORDS).name == str(photo)
    assert expected.name is None


def test_results_have_the_shapes_and_ranges_they_are_said_to_have(model: Predictor) -> None:
    found = model.predict(random_image(50, 70), WORDS)
    count = len(found)
    assert (found.boxes.shape, found.boxes.dtype) == ((count, 4), np.float32)
    assert (found.scores.shape, found.scores.dtype) == ((count,), np.float32)
    assert found.reliability is not None
    assert (found.reliability.shape, found.reliability.dtype) == ((count,), np.float32)
    assert ((found.reliability >= 0) & (found.reliability <= 1)).all()
    assert (found.masks.shape, found.masks.dtype) == ((count, 50, 70), np.bool_)
    assert np.array_equal(found.masks[0], decode_rle(found.rles[0]).astype(bool))
    assert (np.diff(found.scores) <= 0).all()
    assert set(found.words) <= set(WORDS)
    assert (found.boxes[:, 2:] <= [70.001, 50.001]).all()
    assert (found.boxes >= 0).all()
    assert (found.size_wh, found.asked, found.model) == ((70, 50), tuple(WORDS), "student-e1-s8")


@pytest.mark.parametrize("mode", ["L", "RGBA", "LA", "P", "1", "CMYK", "I;16"])
def test_an_image_of_any_mode_is_seen_as_rgb(model: Predictor, mode: str, tmp_path: Path) -> None:
    image = Image.fromarray(random_image(20, 30)).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    path = tmp_path / "image.tiff"
    image.save(path)
    assert_same(model.predict(path, WORDS), model.predict(image, WORDS))


def test_grey_and_transparent_arrays_are_images_too(model: Predictor) -> None:
    grey = random_image(20, 30)[:, :, 0]
    expected = model.predict(np.stack([grey] * 3, axis=2), WORDS)
    assert_same(model.predict(grey, WORDS), expected)
    assert_same(model.predict(grey[:, :, None], WORDS), expected)
    assert_same(model.predict(torch.from_numpy(grey)[None], WORDS), expected)
    white = np.full((20, 30, 3), 255, dtype=np.uint8)
    see_through = np.concatenate([random_image(20, 30), np.zeros((20, 30, 1), dtype=np.uint8)], axis=2)
    assert_same(model.predict(see_through, WORDS), model.predict(white, WORDS))


def test_a_photo_that_lies_on_its_side_is_turned_upright(model: Predictor, photo: Path, tmp_path: Path) -> None:
    array, exif = array_of(photo), Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees clockwise to see it upright
    Image.fromarray(array).save(tmp_path / "turned.png", exif=exif)
    found = model.predict(tmp_path / "turned.png", WORDS)
    assert found.size_wh == (50, 70)
    assert_same(found, model.predict(np.rot90(array, -1), WORDS))


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1), (3, 2)])
def test_a_tiny_or_thin_image_is_no_error(model: Predictor, size: tuple[int, int]) -> None:
    found = model.predict(random_image(*size), WORDS)
    assert found.masks.shape == (len(found), *size)
    assert np.isfinite(found.boxes).all()


def test_limits_are_those_asked_for(model: Predictor) -> None:
    image = random_image(50, 70)
    everything = model.predict(image, WORDS, score_threshold=0)
    some = model.predict(image, WORDS, score_threshold=float(everything.scores[3]))
    assert np.array_equal(some.scores, everything.scores[everything.scores > everything.scores[3]])
    assert_same(everything.above(float(everything.scores[3])), some)
    assert len(model.predict(image, WORDS, max_detections=2)) == 2
    assert len(model.predict(image, WORDS, score_threshold=1.0)) == 0
    for limits in ({"score_threshold": 1.5}, {"max_detections": 0}, {"batch_images": 0}):
        with pytest.raises(DataError, match=r"score_threshold is 0\.\.1"):
            model.predict(image, WORDS, **limits)  # type: ignore[call-overload]


def test_nothing_found_is_an_empty_result_in_every_form(model: Predictor) -> None:
    found = model.predict(random_image(50, 70), WORDS, score_threshold=1.0)
    assert found.masks.shape == (0, 50, 70)
    assert found.to_coco() == []
    assert found.draw().size == (640, 457)
    assert model.predict([], WORDS) == []


def test_no_more_than_a_batch_is_read_ahead(model: Predictor) -> None:
    read = 0

    def images() -> Iterator[np.ndarray[Any, Any]]:
        nonlocal read
        for seed in range(6):
            read += 1
            yield random_image(20, 30, seed=seed)

    found = model.predict_each(images(), WORDS, batch_images=2)
    next(found)
    assert read == 2
    assert len(list(found)) == 5


def test_what_is_found_in_an_image_does_not_depend_on_its_neighbours(model: Predictor) -> None:
    images = [random_image(30, 90), random_image(90, 30, seed=1), random_image(60, 60, seed=2)]
    together = model.predict(images, WORDS)
    for one, image in zip(together, images, strict=True):
        assert_same(one, model.predict(image, WORDS))


def test_words_count_once_however_they_are_spelt(model: Predictor) -> None:
    image = random_image(50, 70)
    once = model.predict(image, ["dog", "traffic light"])
    assert_same(model.predict(image, ["dog", " Dog", "traffic  light", "dog", "Traffic Light"]), once)
    assert once.asked == ("dog", "traffic light")


def test_three_hundred_words_and_words_no_lexicon_knows_can_be_asked_for(model: Predictor) -> None:
    words = [f"thing {number}" for number in range(299)] + ["flibbertigibbet"]
    found = model.predict(random_image(50, 70), words, score_threshold=0.0)
    assert len(found) == 100
    assert set(found.words) <= set(words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no words to look for"),
        (["dog", "  "], "a word to look for is empty"),
        (["dog", 3], "a word to look for is text, not 3"),
        (None, "words is a list of words, not None"),
        ("dog, cat", "words is a list of words, not the text 'dog, cat'"),
    ],
)
def test_words_that_are_no_question_are_refused(model: Predictor, words: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        model.predict(random_image(50, 70), words)


def test_a_word_the_text_encoder_cannot_read_is_refused_by_name(model: Predictor) -> None:
    with pytest.raises(TextError, match="knows nothing of '☃☄'"):
        model.predict(random_image(50, 70), ["dog", "☃☄"])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((3, 50, 70), dtype=np.uint8), "not 3 x 50 x 70"),
        (np.zeros((50, 70, 3)), "an image array is uint8 (0..255), not float64"),
        (np.zeros((2, 50, 70, 3), dtype=np.uint8), "give a batch as a list"),
        (np.zeros((0, 70, 3), dtype=np.uint8), "the image is empty"),
        (Image.fromarray(np.zeros((50, 70), dtype=np.float32)), "the Pillow image holds floats"),
        (torch.zeros(50, 70, 3), "an image tensor is C x H x W"),
        (torch.full((3, 5, 7), -1.5), "holds 0..1, this one -1.5..-1.5"),
        (torch.full((3, 5, 7), torch.nan), "holds 0..1, this one nan..nan"),
        (torch.zeros(3, 5, 7, dtype=torch.int64), "float (0..1) or uint8, not torch.int64"),
        (np.zeros((9000, 9000), dtype=np.uint8), "above the limit of 50000000"),
        (b"bytes", "a path, a URL, a Pillow image, a NumPy array or a torch tensor, not bytes"),
        ("no/such/image.jpg", "cannot read image no/such/image.jpg: no such file"),
    ],
)
def test_what_is_no_image_is_refused_with_what_would_be_one(model: Predictor, image: Any, message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        model.predict(image, WORDS)


def test_a_damaged_file_is_refused_by_name(model: Predictor, photo: Path, tmp_path: Path) -> None:
    data = photo.read_bytes()
    for number, content in enumerate([data[: len(data) // 2], b"", b"hello"]):
        broken = tmp_path / f"{number}.png"
        broken.write_bytes(content)
        with pytest.raises(DataError, match=f"image {broken} cannot be decoded"):
            model.predict(broken, WORDS)


def test_a_model_is_found_by_run_registry_or_checkpoint(registry: Path, photo: Path, tmp_path: Path) -> None:
    expected = xpm_stream.load(registry, device="cpu", cache=tmp_path).predict(photo, WORDS)
    for url, revision in [
        (registry.parent, "champion"),
        (registry, "student-e1-s8"),
        (registry, 1),
        (registry / "checkpoints" / "student-e1-s8", "champion"),
        (registry.as_uri(), "champion"),
    ]:
        model = xpm_stream.load(url, revision, device="cpu", cache=tmp_path)
        assert model.name == "student-e1-s8"
        assert_same(model.predict(photo, WORDS), expected)


@pytest.mark.parametrize("method", ["soft_teacher", "unbiased_teacher", "cap2det", "omp"])
def test_a_model_of_any_method_predicts_far_from_the_files_it_was_trained_with(
    write_model: WriteModel, photo: Path, tmp_path: Path, method: str
) -> None:
    split = tmp_path / "split.json"
    split.write_text('{"base": ["dog", "car", "cup"], "target": ["kite"]}')
    write_model(tmp_path / "there", method=method, data={"split": {"file": str(split)}})
    split.unlink()
    found = xpm_stream.load(tmp_path / "there", device="cpu", cache=tmp_path / "cache").predict(photo, WORDS)
    assert len(found) > 0
    assert (found.reliability is not None) == (method == "soft_teacher")


def test_what_cannot_be_loaded_is_said(registry: Path, tmp_path: Path) -> None:
    with pytest.raises(RegistryError):
        xpm_stream.load(tmp_path / "nothing", cache=tmp_path)
    with pytest.raises(RegistryError):
        xpm_stream.load(registry, 7, cache=tmp_path)
    with pytest.raises(ConfigError, match="device 'gpu' is unknown"):
        xpm_stream.load(registry, device="gpu", cache=tmp_path)


def test_nothing_is_written_where_a_checkpoint_says(
    write_model: WriteModel, own_caches: Path, photo: Path, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    write_model(tmp_path / "registry", text={"cache": str(there)})
    shutil.rmtree(there)
    model = xpm_stream.load(tmp_path / "registry", device="cpu")
    model.predict(photo, ["word of this test"])
    assert not there.exists()
    assert model.folder.is_relative_to(own_caches)
    assert any((own_caches / "xpm-stream" / "text").rglob("*.safetensors"))


def test_judging_a_checkpoint_writes_no_embeddings_where_only_it_says(
    write_model: WriteModel, own_caches: Path, photo: Path, tmp_path: Path
) -> None:
    there, mine = tmp_path / "of the machine that trained it", tmp_path / "of the run that judges"
    registry = write_model(tmp_path / "registry", text={"cache": str(there)})
    shutil.rmtree(there)
    url = f"{registry}/checkpoints/student-e1-s8"
    pixels = [np.asarray(Image.open(photo).convert("RGB"))]
    load_model(url).detect(pixels, [["lighthouse"]])
    run = parse_config({"text": {"cache": str(mine)}}, source="test")
    load_model(url, like=run).detect(pixels, [["glacier"]])
    assert not there.exists()
    assert any((own_caches / "xpm-stream" / "text").rglob("*.safetensors"))
    assert any(mine.rglob("*.safetensors"))


def test_loading_leaves_torchs_threads_as_they_are(registry: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        xpm_stream.load(registry, device="cpu", cache=tmp_path)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_cuda_device_finds_what_the_cpu_finds(registry: Path, photo: Path, tmp_path: Path) -> None:
    on_cpu = xpm_stream.load(registry, device="cpu", cache=tmp_path).predict(photo, WORDS, score_threshold=0.0)
    model = xpm_stream.load(registry, cache=tmp_path)
    assert model.device.type == "cuda"
    on_cuda = model.predict(torch.from_numpy(array_of(photo)).permute(2, 0, 1).cuda(), WORDS, score_threshold=0.0)
    assert len(on_cuda) == pytest.approx(len(on_cpu), abs=2)
    assert on_cuda.scores[:5] == pytest.approx(on_cpu.scores[:5], abs=1e-3)
