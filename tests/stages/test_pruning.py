"""The promoter's housekeeping on a real registry: what it removes, says, and survives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from xpm_stream.config import RunConfig
from xpm_stream.config.loading import parse_config
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.registry.promotion_log import PromotionLog
from xpm_stream.stages.process import role_process
from xpm_stream.stages.pruning import Pruner, collect_checkpoints


def config_of(folder: Path, **registry: Any) -> RunConfig:
    tree = {"folder": str(folder), "metrics": {"enabled": False}, "registry": {"keep_promotions": 2, **registry}}
    return parse_config(tree, source="test")


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    """A registry with five teachers, one after the other."""
    store, log = CheckpointStore(tmp_path / "registry" / "checkpoints"), PromotionLog(tmp_path / "registry")
    for number in range(1, 6):
        store.write(f"teacher-{number}", {"model.safetensors": b"weights"}, order=(number,))
        log.append("promote", checkpoint=f"teacher-{number}", epoch=1, step=number, by="test")
    return store


def names(store: CheckpointStore) -> list[str]:
    return [info.name for info in store.list()]


def logged(folder: Path, message: str) -> list[dict[str, Any]]:
    events = map(json.loads, (folder / "logs" / "promoter.jsonl").read_text().splitlines())
    return [event for event in events if event["message"] == message]


def test_old_teachers_are_marked_removed_and_said(store: CheckpointStore, tmp_path: Path) -> None:
    config = config_of(tmp_path, remove_after_s=0)
    with role_process("promoter", kind="promoter", config=config) as role:
        Pruner(role).prune_if_due()
        assert names(store) == ["teacher-1", "teacher-2", "teacher-3", "teacher-4", "teacher-5"]
        pruner = Pruner(role)
        pruner.prune_if_due()
        assert names(store) == ["teacher-1", "teacher-4", "teacher-5"]
        pruner.prune_if_due()  # not due again yet
    marked = [event["checkpoint"] for event in logged(tmp_path, "checkpoint to be removed")]
    assert sorted(marked) == ["teacher-2", "teacher-3"]
    (removed,) = logged(tmp_path, "checkpoints removed")
    assert (sorted(removed["names"]), removed["bytes"]) == (["teacher-2", "teacher-3"], 14)


def test_nothing_is_removed_where_it_is_not_wanted_or_only_asked_for(store: CheckpointStore, tmp_path: Path) -> None:
    config = config_of(tmp_path, remove_after_s=0, prune=False)
    with role_process("promoter", kind="promoter", config=config) as role:
        for _ in range(2):
            Pruner(role).prune_if_due()
    for _ in range(2):
        assert sorted(collect_checkpoints(config, dry_run=True).marked) == ["teacher-2", "teacher-3"]
    assert len(names(store)) == 5


def test_a_registry_that_cannot_be_tidied_does_not_end_the_promoter(store: CheckpointStore, tmp_path: Path) -> None:
    (tmp_path / "registry" / "pins").mkdir()
    (tmp_path / "registry" / "pins" / "torn.json").write_bytes(b"{")
    with role_process("promoter", kind="promoter", config=config_of(tmp_path)) as role:
        Pruner(role).prune_if_due()
    (warned,) = logged(tmp_path, "cannot remove old checkpoints")
    assert "pins/torn.json" in warned["reason"]
    assert len(names(store)) == 5
