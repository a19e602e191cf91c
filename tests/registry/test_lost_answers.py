"""A store whose answer is lost after it wrote: the client repeats its request and is refused by its own first one."""

from __future__ import annotations

from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from xpm_stream.errors import CheckpointError, PromotionConflict
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.registry.object_store import ObjectStore
from xpm_stream.registry.promotion_log import PromotionLog


class AnswerLostFileSystem(MemoryFileSystem):
    """Writes, and says of files whose path ends so that they were there already."""

    protocol = "memory"
    cachable = False
    lost = ""  # the answers about this file are lost

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: object) -> None:
        super().pipe_file(path, value, mode=mode)
        if self.lost and path.endswith(self.lost):
            raise FileExistsError(path)


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(AnswerLostFileSystem(), root=f"/{tmp_path.name}", url="s3://lost", can_create=True)


def test_a_checkpoint_whose_manifest_was_written_is_written(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AnswerLostFileSystem, "lost", "manifest.json")
    checkpoints = CheckpointStore(store)
    info = checkpoints.write("a", {"model.safetensors": b"weights"})
    assert checkpoints.latest() == info
    assert checkpoints.read("a") == {"model.safetensors": b"weights"}


def test_a_refused_file_leaves_no_checkpoint_that_looks_whole(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AnswerLostFileSystem, "lost", "model.safetensors")
    checkpoints = CheckpointStore(store)
    with pytest.raises(CheckpointError):
        checkpoints.write("a", {"model.safetensors": b"weights"})
    assert checkpoints.latest() is None


def test_an_entry_of_the_log_that_was_written_is_ours(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AnswerLostFileSystem, "lost", ".json")
    log = PromotionLog(store)
    assert log.propose("a", epoch=1, step=2).number == 1
    assert log.append("promote", candidate=1, by="promoter").number == 1
    assert len(PromotionLog(store).entries()) == 1


def test_an_entry_that_another_wrote_is_a_conflict_still(store: ObjectStore) -> None:
    ours, theirs = PromotionLog(store), PromotionLog(store)
    theirs.append("promote", checkpoint="b", by="theirs")
    with pytest.raises(PromotionConflict):
        ours.append("promote", checkpoint="a", by="ours", after=0)
    store.create("promotions/00000002.json", b"theirs")
    with pytest.raises(FileExistsError):
        store.create("promotions/00000002.json", b"ours")
