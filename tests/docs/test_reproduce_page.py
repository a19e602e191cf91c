"""The commands of docs/reproduce.md are commands: they parse, and the files of ours that they name are there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from xpm_stream.cli.main import app
from xpm_stream.config import load_config

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```xpm-stream\n(.*?)^```$", PAGE, re.M | re.S)
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if line.strip()]


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_parses(line: str) -> None:
    program, *arguments = shlex.split(line)
    assert program == "xpm-stream"
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        command = command.commands[arguments.pop(0)]
    context = command.make_context("xpm-stream", arguments)
    for config in re.findall(r"configs/\S+\.yaml", line):
        overrides = context.params.get("overrides") or ()
        assert load_config(ROOT / config, overrides=overrides)


def test_every_step_is_there() -> None:
    verbs = " ".join(COMMANDS)
    for verb in ("coco-captions", "pretrain", " up ", "evaluate", "open-images ", "open-images-split", "lvis-split"):
        assert verb in verbs


def test_the_names_of_steps_are_those_of_the_recipes() -> None:
    for name in ("xpm_coco", "xpm_openimages_cc"):
        config = load_config(ROOT / "configs" / f"{name}.yaml")
        assert f"--set folder={config.teacher.init.split('/pretraining/')[0]} " in PAGE
        assert f"runs/{name}/registry/checkpoints/student-e1-s{config.trainer.steps}" in PAGE
    assert f"teacher-e0-s{load_config(ROOT / 'configs' / 'xpm_coco.yaml').teacher.steps}" in PAGE
