"""`xpm-stream predict`: pictures and one COCO JSON for files, folders, globs and URLs; broken ones are named."""

from __future__ import annotations

import contextlib
import io
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from small_models import WriteModel  # type: ignore[import-not-found]

from xpm_stream.cli.main import main
from xpm_stream.errors import DataError
from xpm_stream.stages.predicting import Predictor
from xpm_stream.stages.predicting_files import find_images

WORDS = "dog, umbrella"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], registry: Path, tmp_path: Path) -> Run:
    """Run `xpm-stream predict ARGUMENTS` on the small model; return exit status, output, errors."""
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("XPM_STREAM_CACHE", str(tmp_path / "cache"))

    def run(*arguments: object) -> tuple[int, str, str]:
        given = [*map(str, arguments)]
        asked = [] if "--words" in given else ["--words", WORDS]
        model = [] if "--model" in given else ["--model", str(registry)]
        usual = ["--device", "cpu", "--score-threshold", "0.05"]
        monkeypatch.setattr(sys, "argv", ["xpm-stream", "predict", *given, *asked, *model, *usual])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


@pytest.fixture
def folder(photo: Path, tmp_path: Path) -> Path:
    """Two images, one below the other's folder and of the same name, and a text."""
    folder = tmp_path / "images"
    (folder / "more").mkdir(parents=True)
    shutil.copy(photo, folder / "a.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(folder / "more/a.JPG")
    (folder / "notes.txt").write_text("not an image")
    return folder


def read_coco(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def test_a_folder_becomes_pictures_and_one_coco_json(run: Run, folder: Path, model: Predictor, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    status, said, _ = run(folder, "--out", out)
    assert status == 0
    assert sorted(file.name for file in out.iterdir()) == ["a-2.jpg", "a.jpg", "predictions.json"]
    with Image.open(out / "a.jpg") as picture:
        assert picture.size == (640, 457)
    read = read_coco(out / "predictions.json")
    names = [image["file_name"] for image in read.loadImgs(sorted(read.getImgIds()))]
    assert names == [str(folder / "a.png"), str(folder / "more/a.JPG")]
    expected = model.predict([Path(name) for name in names], ["dog", "umbrella"], score_threshold=0.05, batch_images=8)
    assert [one["score"] for one in read.loadAnns(sorted(read.anns))] == [
        float(s) for one in expected for s in one.scores
    ]
    found = sum(map(len, expected))
    assert "student-e1-s8 found in 2 images: " in said
    assert sum(int(part.split()[0]) for part in said.splitlines()[0].split(": ")[1].split(", ")) == found
    assert f"COCO JSON: {out / 'predictions.json'}" in said


def test_a_broken_image_is_named_and_the_rest_is_done(run: Run, folder: Path, tmp_path: Path) -> None:
    (folder / "broken [b].png").write_bytes((folder / "a.png").read_bytes()[:200])
    out = tmp_path / "out"
    status, said, errors = run(folder, tmp_path / "gone.jpg", "--out", out, "--batch-images", 1)
    assert status == 1
    assert f"broken: image {folder / 'broken [b].png'} cannot be decoded" in errors
    assert f"broken: cannot read image {tmp_path / 'gone.jpg'}: no such file" in errors
    assert "found in 2 images" in said
    assert sorted(file.name for file in out.iterdir()) == ["a-2.jpg", "a.jpg", "predictions.json"]
    assert len(read_coco(out / "predictions.json").imgs) == 2


def test_pictures_can_be_left_out(run: Run, folder: Path, tmp_path: Path) -> None:
    assert run(folder / "a.png", "--out", tmp_path / "out", "--no-pictures")[0] == 0
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["predictions.json"]


def test_images_are_never_written_over(run: Run, folder: Path) -> None:
    before = (folder / "more/a.JPG").read_bytes()
    with Image.open(folder / "a.png") as image:
        image.save(folder / "a.jpg")
    own = (folder / "a.jpg").read_bytes()
    for out in (folder, folder / "more"):
        status, said, errors = run(folder, "--out", out)
        assert (status, said) == (1, "")
        assert f"lies in {out}, where pictures are to be written: choose another folder" in errors
    assert ((folder / "more/a.JPG").read_bytes(), (folder / "a.jpg").read_bytes()) == (before, own)
    assert run(folder, "--out", folder, "--no-pictures")[0] == 0


def test_pictures_of_like_named_images_do_not_replace_one_another(run: Run, folder: Path, tmp_path: Path) -> None:
    for name in ("a-2.png", "more/A.png"):
        shutil.copy(folder / "a.png", folder / name)
    out = tmp_path / "out"
    out.mkdir()
    (out / "old.txt").write_text("of before")
    assert run(folder, "--out", out)[0] == 0
    pictures = [file.stem for file in out.glob("*.jpg")]
    assert len({name.casefold() for name in pictures}) == len(pictures) == 4
    assert (out / "old.txt").exists()


def test_what_has_no_reliability_says_so(run: Run, write_model: WriteModel, folder: Path, tmp_path: Path) -> None:
    assert "reliability: none" not in run(folder, "--out", tmp_path / "out")[1]
    other = write_model(tmp_path / "other", xpm={"reliability": "standardised"})
    said = run(folder, "--out", tmp_path / "out", "--model", other)[1]
    assert "reliability: none: a checkpoint of this method and xpm.reliability has none" in said
    found = read_coco(tmp_path / "out" / "predictions.json").anns
    assert found
    assert all("reliability" not in one for one in found.values())


def test_mistakes_are_one_clear_line(run: Run, folder: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "out")
    for arguments, message in [
        ((folder, *out, "--words", " , "), "a word to look for is empty"),
        ((folder, *out, "--words", "☃☄"), "knows nothing of '☃☄'"),
        ((folder / "*.webp", *out), "*.webp names no image"),
        ((folder, "--out", folder / "a.png"), "cannot make the folder"),
        ((folder, *out, "--revision", "nobody"), "nobody"),
    ]:
        status, said, errors = run(*arguments)
        assert (status, said) == (1, "")
        assert errors.strip().splitlines()[-1].startswith("error: ")
        assert message in errors


def test_sources_name_each_image_once_in_order(folder: Path) -> None:
    first, second = str(folder / "a.png"), str(folder / "more/a.JPG")
    assert find_images([str(folder)]) == [first, second]
    assert find_images([str(folder / "**/*.JPG"), str(folder)]) == [second, first]
    assert find_images([folder.as_uri(), first]) == [first, second]
    assert find_images(["https://example.org/x.jpg?size=3", first]) == ["https://example.org/x.jpg?size=3", first]
    bracketed = folder / "b[1].png"
    bracketed.write_bytes((folder / "a.png").read_bytes())
    assert find_images([str(bracketed)]) == [str(bracketed)]
    with pytest.raises(DataError, match="names no image"):
        find_images([str(folder / "*.txt")])
    with pytest.raises(DataError, match="would run a command"):
        find_images(["pipe:ls"])
