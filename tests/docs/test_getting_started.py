from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from xpm_stream.config import load_config
from xpm_stream.config.queue_sections import RedisConfig
from xpm_stream.label_queue import start_or_join

PAGE = (Path(__file__).parents[2] / "docs" / "getting_started.md").read_text(encoding="utf-8")
BLOCKS = [tuple(found) for found in re.findall(r"^```(\w+) (\S+)\n(.*?)^```$", PAGE, re.M | re.S)]
KINDS = {"run", "background", "coco", "redis", "parse"}


def commands(text: str) -> list[list[str]]:
    return [shlex.split(line) for line in text.splitlines() if line.strip()]


def as_run_here(command: list[str]) -> list[str]:
    assert command[0] == "xpm-stream", command
    return [sys.executable, "-m", "xpm_stream.cli.main", *command[1:]]


def finish(command: list[str], folder: Path) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    answer = subprocess.run(
        as_run_here(command), cwd=folder, env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert answer.returncode == 0, f"{shlex.join(command)}\n{answer.stdout[-2000:]}\n{answer.stderr[-2000:]}"
    return answer.stdout


def section(number: int) -> list[tuple[str, str, str]]:
    text = PAGE.split(f"\n## {number}. ")[1].split("\n## ")[0]
    return [(language, tag, body) for language, tag, body in BLOCKS if body in text]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the drawn corpus and the page's configuration files in it."""
    folder = tmp_path_factory.mktemp("reader")
    for command in commands(section(1)[0][2]):
        finish(command, folder)
    for language, name, body in BLOCKS:
        if language == "yaml":
            (folder / name).write_text(body, encoding="utf-8")
    return folder


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    with start_or_join(RedisConfig(), run_folder=tmp_path) as server:
        yield server.url


def test_every_block_is_one_that_these_tests_know() -> None:
    assert {tag for language, tag, _ in BLOCKS if language == "bash"} == KINDS
    assert len(re.findall(r"^```bash$", PAGE, re.M)) == 1, "only the installation is not executed"


@pytest.mark.parametrize(
    "command",
    [c for language, tag, body in BLOCKS if language == "bash" and tag != "redis" for c in commands(body)],
    ids=lambda command: " ".join(command[:3]),
)
def test_every_command_and_option_exists(command: list[str]) -> None:
    subcommand = command[1:3] if command[1] in ("shards", "lexicon") else command[1:2]
    answer = subprocess.run(
        as_run_here(["xpm-stream", *subcommand, "--help"]),
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    for option in (word for word in command if word.startswith("--")):
        assert option in answer.stdout


def test_the_lexicon_answers_as_a_reader_expects(tmp_path: Path) -> None:
    command = next(c for _, tag, body in section(2) if tag == "run" for c in commands(body))
    assert finish(command, tmp_path).strip() == "teddy bear, hot dog, couch"


def test_coco_captions_are_packed(tmp_path: Path, coco_tiny: Path) -> None:
    (tmp_path / "coco").symlink_to(coco_tiny)
    command = next(c for _, tag, body in section(2) if tag == "coco" for c in commands(body))
    assert "in 1 shards" in finish(command, tmp_path)


def test_the_shown_configurations_are_valid(place: Path) -> None:
    assert load_config(place / "my_run.yaml").name == "my_run"
    assert load_config(place / "shared.yaml").registry.url == "s3://bucket/xpm/shared"


@pytest.mark.slow
def test_one_machine(place: Path) -> None:
    for _, tag, body in section(5):
        assert tag == "run"
        for command in commands(body):
            said = finish(command, place)
            if command[1] == "audit":
                assert "everything adds up" in said
    assert (place / "masks.png").stat().st_size > 10_000
    assert (place / "runs" / "my_run" / "summary.json").is_file()


@pytest.mark.slow
def test_each_role_on_its_own_machine(place: Path, redis_url: str, tmp_path: Path) -> None:
    text = (place / "shared.yaml").read_text()
    text = text.replace("redis://:PASSWORD@redis.internal:6379/0", redis_url)
    (place / "shared.yaml").write_text(text.replace("s3://bucket/xpm/shared", str(tmp_path / "registry")))
    background: dict[str, subprocess.Popen[bytes]] = {}
    said = ""
    try:
        for _, tag, body in section(6):
            for command in commands(body) if tag in ("run", "background") else []:
                if tag == "background":
                    background[command[1]] = subprocess.Popen(as_run_here(command), cwd=place)
                    continue
                said = finish(command, place)
        assert "everything adds up" in said
        assert background["label"].wait(60) == 0, "the labeler ends with its corpus"
        background["promote"].send_signal(signal.SIGTERM)
        assert background["promote"].wait(60) == 0
    finally:
        for process in background.values():
            if process.poll() is None:
                process.kill()
                process.wait()
    assert len(list((tmp_path / "registry" / "promotions").glob("*.json"))) >= 2


def test_the_redis_that_the_page_starts_is_the_one_shipped() -> None:
    [command] = [c for _, tag, body in section(6) if tag == "redis" for c in commands(body)]
    assert (Path(__file__).parents[2] / command[1]).is_file()  # started by tests/deploy
