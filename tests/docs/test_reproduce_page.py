"""The commands of docs/reproduce.md are commands: they parse, and the files of ours that they name are there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
import typer

from xpm_stream.cli.main import app
from xpm_stream.config import RunConfig, load_config
from xpm_stream.stages.run_folder import RunFolder

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```xpm-stream\n(.*?)^```$", PAGE, re.M | re.S)
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if line.strip()]


def parsed(line: str) -> tuple[click.Context, RunConfig | None]:
    """A command's arguments, and the configuration of it, with its `--set`s."""
    program, *arguments = shlex.split(line)
    assert program == "xpm-stream"
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        command = command.commands[arguments.pop(0)]
    context = command.make_context("xpm-stream", arguments)
    found = re.search(r"configs/\S+\.yaml", line)
    return context, load_config(ROOT / found[0], overrides=context.params.get("overrides") or ()) if found else None


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_parses(line: str) -> None:
    parsed(line)


def test_all_of_our_commands_are_among_those_that_are_parsed() -> None:
    prose = re.sub(r"^```xpm-stream\n.*?^```$", "", PAGE, flags=re.M | re.S)
    assert not re.findall(r"^xpm-stream .*", prose, re.M)


def test_pretraining_has_the_papers_rate_and_images_on_one_gpu_and_on_eight() -> None:
    (torchrun,) = re.findall(r"^torchrun (?:.*\\\n)*.*$", PAGE, re.M)
    ranks, arguments = re.fullmatch(
        r"torchrun --standalone --nproc-per-node (\d+) --max-restarts \d+ workers/pretrainer\.py (.*)",
        torchrun.replace("\\\n", " "),
    ).groups()  # type: ignore[union-attr]  # no match fails the test
    assert (ROOT / "workers" / "pretrainer.py").is_file()
    commands = [(int(ranks), f"xpm-stream pretrain {arguments}")]
    commands += [(1, line) for line in COMMANDS if line.startswith("xpm-stream pretrain ")]
    assert len(commands) == 3, "one with torchrun, one a recipe"
    for processes, line in commands:
        _, config = parsed(line)
        assert config
        assert config.optimiser.learning_rate == 0.01
        assert processes * config.pretraining.batch_images == 32


def test_pretraining_can_have_the_transformer_that_the_page_names() -> None:
    (settings,) = re.findall(r"`(--set pretraining\.multimodal_layers=.*?)`", PAGE)
    for line in (line for line in COMMANDS if line.startswith("xpm-stream pretrain ")):
        for command, layers in ((line, 0), (f"{line} {settings}", 6)):
            _, config = parsed(command)
            assert config
            assert config.pretraining.multimodal_layers == layers


def test_the_settings_of_the_shrunk_run_are_settings() -> None:
    (block,) = re.findall(r"^## The shrunk run\n.*?^```\n(.*?)^```$", PAGE, re.M | re.S)
    for name in ("xpm_coco", "xpm_coco_released"):
        _, config = parsed(f"xpm-stream up configs/{name}.yaml {' '.join(block.split())}")
        assert config
        assert (config.pretraining.steps, config.teacher.steps, config.trainer.steps) == (2, 2, 3)


def test_a_file_is_made_before_it_is_used() -> None:
    """What a step writes is what later steps and the recipes read."""
    contexts = [parsed(line) for line in COMMANDS]
    written: list[str] = []
    for context, config in contexts:
        if "output" in context.params:
            written.append(str(context.params["output"]))
        if config is None:
            if not str(context.params.get("checkpoint", "")).startswith("runs/"):
                continue
            assert context.params["checkpoint"].split("/registry/")[0] in written
        elif context.params["overrides"]:
            written.append(str(RunFolder.of(config).pretraining.relative_to(Path.cwd())))
        else:
            assert config.teacher.init.rpartition("/")[0] in written
            written.append(str(RunFolder.of(config).root.relative_to(Path.cwd())))
        if config and config.name == "xpm_coco":
            assert {pattern.rpartition("/")[0] for pattern in config.data.shards} <= set(written)
        if config and config.name == "xpm_openimages_cc":
            assert config.data.base
            assert config.data.val
            files = {config.data.base.annotations, config.data.val.annotations, config.data.split.file}
            assert files <= set(written)


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
