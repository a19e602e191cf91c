"""One file of a store goes; the others stay, and deleting it again is harmless."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from xpm_stream.registry.store import Store, open_store


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    yield open_store(tmp_path if request.param == "local" else f"memory://{tmp_path.name}")
    fsspec.filesystem("memory").store.clear()


def test_a_deleted_file_is_gone_and_may_be_created_anew(store: Store) -> None:
    store.create("a/1.json", b"one")
    store.create("a/2.json", b"two")
    store.delete("a/1.json")
    assert store.names("a") == ["2.json"]
    with pytest.raises(FileNotFoundError):
        store.read("a/1.json")
    store.delete("a/1.json")
    store.delete("nowhere/1.json")
    store.create("a/1.json", b"anew")
    assert store.read("a/1.json") == b"anew"
