"""`xpm-stream checkpoints cache`: what pulls have left on this machine, and removing it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from asking import Ask

from xpm_stream.registry import CheckpointCache, CheckpointStore


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three checkpoints, the first used last, and half of a fourth."""
    monkeypatch.setenv("XPM_STREAM_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "cache" / "checkpoints"
    store = CheckpointStore(tmp_path / "registry")
    for used_at_s, name in ((300, "first"), (100, "second"), (200, "third")):
        store.write(name, {"model.safetensors": b"w" * 2000})
        os.utime(CheckpointCache(folder).bring(store.folder(name)), (used_at_s, used_at_s))
    half = folder / ".partial" / "fourth@0123"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"w" * 10)
    os.utime(half, (50, 50))
    return folder


def test_it_shows_what_is_there_and_where(ask: Ask, cache: Path) -> None:
    lines = ask("checkpoints", "cache").out.splitlines()
    assert [line.split("@")[0] for line in lines[1:-1]] == ["fourth", "second", "third", "first"]
    assert "not whole" in lines[1]
    assert not [line for line in lines[2:] if "not whole" in line]
    assert lines[-1].startswith("4 checkpoints, 7.")
    assert lines[-1].endswith(f"kB in {cache}")


def test_it_keeps_as_many_as_told_the_last_used(ask: Ask, cache: Path) -> None:
    answer = ask("checkpoints", "cache", "--keep", 2)
    assert "2 removed; 2 checkpoints, " in answer.out
    assert {path.name.split("@")[0] for path in cache.glob("*@*")} == {"first", "third"}
    assert not list((cache / ".partial").iterdir())
    assert ask("checkpoints", "cache", "--keep", 0).status == 2


def test_a_cache_that_is_not_there_is_empty(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XPM_STREAM_CACHE", str(tmp_path / "none"))
    assert ask("checkpoints", "cache").out == f"0 checkpoints, 0 B in {tmp_path}/none/checkpoints\n"
    assert ask("checkpoints", "cache", "--keep", 1).status == 0
    assert not (tmp_path / "none").exists()
