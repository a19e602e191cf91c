"""What a careless command line is told: one line, exit status 1, never a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from xpm_stream.cli.main import main

Fail = Callable[..., str]


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Fail:
    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["xpm-stream", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 1
        said = capsys.readouterr().err
        assert said.startswith("error: ")
        assert "Traceback" not in said
        return said

    return run


@pytest.mark.parametrize("command", ["up", "teach", "label", "train", "promote"])
def test_a_configuration_that_is_not_there_is_named(fails: Fail, tmp_path: Path, command: str) -> None:
    assert f"cannot read configuration {tmp_path}/none.yaml" in fails(command, tmp_path / "none.yaml")


@pytest.mark.parametrize("command", [["audit"], ["show"], ["shards", "list"]])
def test_a_folder_that_is_no_run_is_named(fails: Fail, tmp_path: Path, command: list[str]) -> None:
    assert f"{tmp_path}/config.yaml" in fails(*command, tmp_path)


def test_a_misspelt_key_on_the_command_line_suggests_the_right_one(fails: Fail, tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("name: a")
    assert "did you mean 'trainer.steps'" in fails("train", config, "--set", "trainer.stps=3")


def test_a_path_below_a_file_is_named(fails: Fail, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert f"cannot use {tmp_path}/file/corpus" in fails("synth", tmp_path / "file" / "corpus", "--preset", "tiny")


def test_a_misspelt_preset_or_setting_is_named(fails: Fail, tmp_path: Path) -> None:
    assert "unknown preset 'tinny'" in fails("synth", tmp_path / "c", "--preset", "tinny")
    assert "settings: sise" in fails("synth", tmp_path / "c", "--preset", "tiny", "--set", "sise=3")
    assert "not of the form KEY=VALUE" in fails("synth", tmp_path / "c", "--preset", "tiny", "--set", "sise")


def test_an_evaluation_without_anything_to_evaluate_on_says_what_to_give(fails: Fail) -> None:
    assert "--annotations FILE --images FOLDER, or --run RUN" in fails("evaluate", "checkpoint")


def test_brackets_in_a_message_are_shown_as_they_are(fails: Fail, tmp_path: Path) -> None:
    assert "[bold]none[/].yaml" in fails("up", tmp_path / "[bold]none[/].yaml")
