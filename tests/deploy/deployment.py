"""What the tests of containers share: which commands there are, which port is whose, and how secrets are made."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import typer.main
import yaml

from xpm_stream.cli.main import app

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
TORCHRUN = "torchrun"
IMAGE_USER = 10001  # of the Dockerfile
# A value of its own for each role: the users of deploy/redis/users.acl (tests/integration/test_redis_users.py).
USER_OF = {"train": "trainer", "label": "labeler", "promote": "monitor", "watch": "monitor", "audit": "operator"}


def ports_of_roles() -> dict[str, int]:
    """As deploy/prometheus.yaml has them, which is held to the code by another test; the first port of each role."""
    tree = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text(encoding="utf-8"))
    groups = tree["scrape_configs"][0]["static_configs"]
    return {group["labels"]["role"]: int(group["targets"][0].rpartition(":")[2]) for group in groups}


def check_command(words: Sequence[str]) -> str:
    """Parse the arguments of `xpm-stream`; return the command's name. What is no command or option fails."""
    command = typer.main.get_command(app)
    context = command.make_context("xpm-stream", list(words), resilient_parsing=True)
    for depth, word in enumerate(words):  # commands of commands: `shards add`
        found = command.get_command(context, word) if hasattr(command, "get_command") else None
        if found is None:
            break
        inner = hasattr(found, "get_command")
        command, context = (
            found,
            found.make_context(word, list(words[depth + 1 :]), parent=context, resilient_parsing=inner),
        )
    assert not hasattr(command, "get_command"), f"xpm-stream has no command {' '.join(words)}"
    return words[0]


def has_command(name: str) -> bool:
    """Whether `xpm-stream NAME` exists."""
    command = typer.main.get_command(app)
    return name in command.list_commands(command.make_context("xpm-stream", [], resilient_parsing=True))


def check_process(entry_point: Sequence[str], arguments: Sequence[str]) -> str:
    """What a container runs, the image's entry point or torchrun in its place; return the name of our command."""
    words = [*entry_point, *arguments]
    assert words[:2] == ["/usr/bin/tini", "--"], "process 1 must pass SIGTERM on, and reap"
    if words[2] == "xpm-stream":
        return check_command(words[3:])
    assert words[2] == TORCHRUN
    module = words.index("--module")
    assert words[module + 1] == "xpm_stream.cli.main"
    package = importlib.util.find_spec("torch")  # found, not imported: that takes seconds
    assert package is not None
    assert package.origin is not None
    options = Path(package.origin).with_name("distributed").joinpath("run.py").read_text(encoding="utf-8")
    for word in words[3:module]:
        assert f'"{word.partition("=")[0]}"' in options, f"torchrun has no option {word}"
    return check_command(words[module + 2 :])


def shutdown_timeout_s(arguments: Sequence[str]) -> int:
    """How long torchrun waits for its ranks; 0 without torchrun."""
    given = [word for word in arguments if word.startswith("--shutdown-timeout=")]
    return int(given[0].partition("=")[2]) if given else 0


def make_secrets(folder: Path, *options: str) -> Path:
    """The files of deploy/make_secrets.py, by the command of docs/deployment.md."""
    subprocess.run([sys.executable, str(DEPLOY / "make_secrets.py"), str(folder), *options], check=True, timeout=60)
    return folder


def is_pinned(image: str) -> bool:
    """Whether an image has a tag that says which version it is."""
    tag = image.rpartition("/")[2].partition(":")[2]
    return bool(re.search(r"\d", tag))
