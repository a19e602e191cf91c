"""What people get wrong: one clear line that names the thing and the way out, exit status 1, no traceback."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from processes import Command, Run
from small_runs import MakeRun

Started = dict[str, Command]


def _broken_base(data: dict[str, Any], folder: Path, *, missing_image: bool) -> dict[str, Any]:
    """A copy of the base set that names an image that is not there, or has an annotation of an unknown category."""
    tree = json.loads(Path(data["base"]["annotations"]).read_text())
    if missing_image:
        tree["images"][0]["file_name"] = "gone.jpg"
    else:
        tree["annotations"][0]["category_id"] = 999
    path = folder / ("missing_image.json" if missing_image else "unknown_category.json")
    path.write_text(json.dumps(tree))
    return {**data, "base": {**data["base"], "annotations": str(path)}}


@pytest.fixture(scope="module")
def started(make_run: MakeRun, data: dict[str, Any], untrained_teacher: str, tmp_path_factory: Any) -> Started:
    """Every mistake at once: most of each command's time is the start of a process."""
    folder = tmp_path_factory.mktemp("mistakes")
    commands: Started = {}

    def start(name: str, role: str, *arguments: str, environment: dict[str, str] | None = None, **sections: Any) -> Run:
        run = make_run(name, **{"data": data, **sections})
        commands[name] = run.start(role, *arguments, environment=environment)
        return run

    away = {"url": f"unix://{folder}/none.sock", "retry_for_s": 2.0, "connect_timeout_s": 1.0}
    start("redis_down", "promote", redis=away)
    start("redis_down_for_up", "up", redis=away)
    start("missing_shard_for_up", "up", data={**data, "shards": [f"{folder}/none.tar"]})
    start("missing_image", "up", data=_broken_base(data, folder, missing_image=True))
    start("unknown_category", "teach", data=_broken_base(data, folder, missing_image=False))
    split = folder / "split.json"
    split.write_text(json.dumps({"base": ["dog", "unicorn"], "target": ["cat"]}))
    start("unknown_class", "teach", data={**data, "split": {"file": str(split)}})
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(folder / "hub")}
    start("no_encoder", "teach", environment=nowhere, text={"encoder": "sentence-transformers/nowhere", "cache": None})
    other = {"model": {"backbone": "resnet18"}, "teacher": {"checkpoint": untrained_teacher}}
    start("other_architecture", "teach", **other)
    start("no_such_teacher", "teach", teacher={"checkpoint": f"{folder}/none"})
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        start("port_taken", "promote", metrics={"port": taken.getsockname()[1] - 1})
        commands["port_taken"].wait()
    return commands


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("redis_down", ["Redis at unix://", "none.sock cannot be reached", "start it, or correct redis.url"]),
        ("redis_down_for_up", ["promoter: connecting: Redis at unix://", "start it, or correct redis.url"]),
        ("missing_shard_for_up", ["shard ", "none.tar does not exist"]),
        ("missing_image", ["teacher: 1 of the ", "gone.jpg", "missing_image.json"]),
        ("unknown_category", ["999", "unknown_category.json"]),
        ("unknown_class", ["unicorn"]),
        ("no_encoder", ["sentence-transformers/nowhere", "nor reachable", "text.encoder: minilm"]),
        ("other_architecture", ["another architecture", "backbone: small", "set the same model section"]),
        ("no_such_teacher", ["there is no checkpoint 'none'"]),
        ("port_taken", ["cannot serve metrics", "Address already in use", "metrics.port"]),
    ],
)
def test_a_mistake_is_one_clear_line(started: Started, mistake: str, said: list[str]) -> None:
    error = started[mistake].fails()
    for part in said:
        assert part in error
    assert '{"role"' not in error


@pytest.mark.slow
def test_a_teacher_nobody_can_load_is_not_in_the_registry(started: Started) -> None:
    started["other_architecture"].wait()
    folder = Path(started["other_architecture"].output).parent / "run" / "registry"
    assert not list(folder.glob("candidates/*"))
    assert not list(folder.glob("checkpoints/*"))
