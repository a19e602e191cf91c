"""Runs of the command in this process, and a run folder with a real Redis and real shards."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from asking import Answer, Ask, Refused

from xpm_stream.cli.main import main
from xpm_stream.config import RunConfig, load_config
from xpm_stream.label_queue import LabelQueue, connect


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run `xpm-stream ARGUMENTS` as the shell would."""
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["xpm-stream", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return Answer(int(ended.value.code or 0), said.out, said.err)

    return run


@pytest.fixture
def refused(ask: Ask) -> Refused:
    """Run a command that must fail with one clear line; return the line."""

    def run(*arguments: object) -> str:
        answer = ask(*arguments)
        assert answer.status == 1, answer
        assert answer.err.startswith("error: ")
        assert answer.err.count("\n") == 1, answer.err
        return answer.err

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder as a role leaves it."""
    made = tmp_path / "run"
    made.mkdir()
    (made / "config.yaml").write_text(
        yaml.safe_dump({"folder": str(made), "registry": {"url": str(made / "registry")}})
    )
    return made


@pytest.fixture
def config(folder: Path) -> RunConfig:
    return load_config(folder / "config.yaml")


@pytest.fixture
def queue(config: RunConfig, folder: Path) -> Iterator[LabelQueue]:
    """The run's queue while the run runs: this process owns the embedded Redis, and the commands join it."""
    with connect(config.redis, config.queue, run_folder=folder) as opened:
        yield opened
