"""Every block of docs/tour.md runs, in order, on a small run's folder."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from small_models import WriteModel  # type: ignore[import-not-found]

from xpm_stream.config.data_sections import SyntheticCorpusConfig
from xpm_stream.data.synthetic import write_corpus
from xpm_stream.stages.preparation import synthetic_config

PAGE = (Path(__file__).parents[2] / "docs" / "tour.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(python|console)\n(.*?)^```$", PAGE, re.M | re.S)
SMALL_CORPUS = {"base_images": 1, "caption_images": 4, "val_images": 6, "images_per_shard": 4, "image_size": 64}


@pytest.fixture
def place(write_model: WriteModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which a run stands where the quickstart would leave it."""
    run = tmp_path / "runs" / "quickstart"
    section = SyntheticCorpusConfig.model_validate({"preset": "tiny", "settings": SMALL_CORPUS})
    write_corpus(run / "corpus", preset=synthetic_config(section))
    write_model(run / "registry")
    monkeypatch.setenv("XPM_STREAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_console(block: str) -> str:
    said = ""
    for line in block.splitlines():
        assert line.startswith("$ xpm-stream "), line
        command = [sys.executable, "-m", "xpm_stream.cli.main", *shlex.split(line.removeprefix("$ xpm-stream "))]
        # From a copy of the page's folder, but this checkout's code.
        environment = os.environ | {
            "COLUMNS": "110",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "OMP_NUM_THREADS": "1",
        }
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200, env=environment)
        assert answer.returncode == 0, answer.stderr
        said += answer.stdout
    return said


def test_the_tour_can_be_taken(place: Path) -> None:
    assert len(BLOCKS) >= 7
    names: dict[str, Any] = {}
    said: list[str] = []
    for language, block in BLOCKS:
        if language == "console":
            said.append(run_console(block))
            continue
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(compile(block, f"docs/tour.md: {block.splitlines()[0]}", "exec"), names)
        said.append(output.getvalue())

    assert re.search(r"^student-e1-s8 +champion", said[0], re.M)
    assert said[1].startswith("student-e1-s8 on ")
    assert said[2].startswith("## Lineage")
    with Image.open(place / "found.png") as picture:
        assert max(picture.size) == 640
    assert len(set(names["several"])) == 4
    assert {len(one) for one in names["several"]} == {len(names["found"])}
    assert "4 images, 6 categories, " in said[-2]
    assert "found in 6 images" in said[-1]
    assert sorted(path.suffix for path in (place / "found").iterdir()) == [".jpg"] * 6 + [".json"]


def test_outputs_are_shown_beneath_what_gives_them() -> None:
    assert "OUT" not in re.sub(r"```.*?```", "", PAGE, flags=re.S)
    assert len(re.findall(r"^```text\n", PAGE, re.M)) >= 5
