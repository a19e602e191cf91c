"""The page of commands for shards and dead letters: every command and option on it exists, and none is left out."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from xpm_stream.cli.dead import dead
from xpm_stream.cli.main import app
from xpm_stream.cli.shards import shards

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "queue_commands.md").read_text(encoding="utf-8")
COMMANDS = [shlex.split(line) for line in re.findall(r"^\$ xpm-stream (.*)$", PAGE, re.M)]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:2]))
def test_every_command_and_option_exists(command: list[str]) -> None:
    words = command[: 1 if command[0] == "audit" else 2]
    answer = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert answer.exit_code == 0, answer.output
    for option in (word for word in command if word.startswith("--")):
        assert option in answer.output


def test_every_command_is_shown() -> None:
    names = {
        f"{group} {command.name or command.callback.__name__}"
        for group, typer in (("shards", shards), ("dead", dead))
        for command in typer.registered_commands
        if command.callback
    }
    assert names - {" ".join(command[:2]) for command in COMMANDS} == {"shards pack"}, "pack is in getting_started"


def test_the_page_is_linked() -> None:
    for page in (DOCS.parent / "README.md", DOCS / "delivery.md"):
        assert "queue_commands.md" in page.read_text(encoding="utf-8")
