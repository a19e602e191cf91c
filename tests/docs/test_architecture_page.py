from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from xpm_stream.config import RunConfig, save_resolved
from xpm_stream.config.network_sections import ModelConfig
from xpm_stream.config.queue_sections import RedisConfig
from xpm_stream.crash_points import CRASH_POINTS
from xpm_stream.methods import find_method
from xpm_stream.stages.network_files import checkpoint_config, network_files

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "xpm_stream"
PAGE = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
# What is inside an annotation of the region methods; pictures are of nothing else.
INSIDE = {"InstanceAnnotation", "PseudoInstance", "mask_bits"}
ALLOWED = {"stages/showing.py"}


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((PACKAGE / folder).rglob("*.py"))]


@pytest.mark.parametrize(
    "path", sources("stages", "label_queue", "registry"), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_stages_queue_and_registry_never_look_inside_an_annotation(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    of_annotation = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).rsplit(".", 1)[-1] == "annotation"
    }
    inside = (names | attributes) & INSIDE
    if path.relative_to(PACKAGE).as_posix() not in ALLOWED:
        assert not inside, f"{path} looks inside an annotation: {inside}"
        assert of_annotation <= {"findings", "partner_images"}, of_annotation


def test_every_crash_point_is_on_the_page_and_every_one_on_the_page_exists() -> None:
    on_page = set(re.findall(r"`((?:labeler|trainer|promoter|checkpoint)\.(?:after|before)_\w+)`", PAGE))
    assert on_page == set(CRASH_POINTS)


def test_every_row_of_the_house_is_in_the_layers_table() -> None:
    contracts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    rows = [row for contract in contracts if contract["type"] == "layers" for row in contract["layers"]]
    table = PAGE.split("## Layers")[1].split("## The path")[0]
    for row in rows:
        assert re.search(r"^\| " + " · ".join(f"`{name.strip()}`" for name in row.split("|")), table, re.M), row


def test_modules_the_page_names_exist() -> None:
    holds = PAGE.split("## Seams")[0]
    for folder, name in re.findall(r"`(stages|methods|engines|networks|learning|evaluation)[/.](\w+)(?:\.py)?", holds):
        assert (PACKAGE / folder / f"{name}.py").is_file(), f"{folder}/{name}"
    row = next(line for line in PAGE.splitlines() if line.startswith("| `stages` |"))
    for name in re.findall(r"`(\w+)`", row.replace("`up`", "")):
        assert name == "stages" or (PACKAGE / "stages" / f"{name}.py").is_file(), name


@pytest.mark.parametrize(
    "module",
    [
        "cli.main",
        "stages.local",
        "stages.closing",
        "stages.run_account",
        "stages.promotion",
        "stages.drift_watch",
        "methods",
    ],
)
def test_what_up_and_audit_load_starts_without_torch(module: str) -> None:
    script = f"import sys, xpm_stream.{module}; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_no_password_of_redis_is_in_a_checkpoint_or_readable_by_others(tmp_path: Path) -> None:
    config = RunConfig(redis=RedisConfig(url="redis://:hunter2@redis:6379/0"), model=ModelConfig(backbone="small"))
    method = find_method("xpm")(config, base_classes=["dog"])
    files = network_files(method, config=config, base_classes=["dog"])
    assert b"hunter2" not in b"".join(files.values())
    assert checkpoint_config(files, name="x").redis.url == "embedded"
    assert save_resolved(config, tmp_path).stat().st_mode & 0o077 == 0
