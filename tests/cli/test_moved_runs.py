"""A run folder that was copied or moved: commands work on the folder they are given, not on where it once was."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from asking import Ask, Refused

from xpm_stream.config import RunConfig
from xpm_stream.registry import CheckpointStore, PromotionLog
from xpm_stream.registry.holds import Holds


@pytest.fixture
def copied(tmp_path: Path) -> tuple[Path, Path]:
    """A run that keeps its registry in its folder, and a copy of it; its configuration names the first alone."""
    first, copy = tmp_path / "first", tmp_path / "copy"
    first.mkdir()
    (first / "config.yaml").write_text(f"folder: {first}\n")
    log = PromotionLog(first / "registry")
    for step, name in enumerate(("one", "two"), start=1):
        CheckpointStore(first / "registry" / "checkpoints").write(name, {"a": b"a"}, order=(1, step))
        log.append("promote", checkpoint=name, epoch=1, step=step, by="promoter")
    shutil.copytree(first, copy)
    return first, copy


def test_a_persons_decision_on_a_copy_leaves_the_first_alone(ask: Ask, copied: tuple[Path, Path]) -> None:
    first, copy = copied
    assert ask("checkpoints", "pin", copy, "one", "--because", "Table 2").status == 0
    assert ask("checkpoints", "rollback", copy, "--because", "masks look worse").status == 0
    assert (set(Holds(copy / "registry").pins()), len(PromotionLog(copy / "registry").entries())) == ({"one"}, 3)
    assert (set(Holds(first / "registry").pins()), len(PromotionLog(first / "registry").entries())) == (set(), 2)
    assert "rollback" in ask("checkpoints", "history", copy).out
    assert "rollback" not in ask("checkpoints", "history", first).out


def test_nothing_is_removed_from_the_first_by_pruning_a_copy(ask: Ask, copied: tuple[Path, Path]) -> None:
    first, copy = copied
    for root in copied:
        CheckpointStore(root / "registry" / "checkpoints", clock=lambda: 1.0).write("left", {"a": b"a"})
    assert "marked" in ask("checkpoints", "prune", copy).out
    assert (set(Holds(copy / "registry").marks()), Holds(first / "registry").marks()) == ({"left"}, {})


def test_the_queue_of_a_copy_is_its_own(ask: Ask, copied: tuple[Path, Path]) -> None:
    first, copy = copied
    for command in (("shards", "list"), ("audit",), ("dead", "list")):
        ask(*command, copy)
    assert (copy / "redis").is_dir(), "no queue was looked at: proves nothing"
    assert not (first / "redis").exists()


def test_a_url_is_no_run_folder(refused: Refused) -> None:
    assert "name the run's folder" in refused("checkpoints", "pin", "s3://bucket/run", "one", "--because", "x")


def test_a_configuration_of_another_version_does_not_hide_the_registry(
    ask: Ask, refused: Refused, copied: tuple[Path, Path]
) -> None:
    run, _ = copied
    (run / "config.yaml").write_text("folder: x\nlater_section: {a: 1}\n")
    told = refused("checkpoints", "list", run)
    assert "unknown key 'later_section'" in told
    assert f"name {run / 'registry'}" in told
    assert "champion" in ask("checkpoints", "list", run / "registry").out


def test_a_registry_that_cannot_be_reached_is_told_in_a_line(
    refused: Refused, config: RunConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("s3fs").S3FileSystem.clear_instance_cache()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "nonsense")  # http:// was forgotten
    (tmp_path / "s3.yaml").write_text("registry: {url: 's3://bucket/registry'}\n")
    for command in (["pin", "one", "--because", "x"], ["prune"]):
        told = refused("checkpoints", command[0], tmp_path / "s3.yaml", *command[1:])
        assert "cannot use the registry s3://bucket/registry" in told
        assert "Invalid endpoint: nonsense" in told
