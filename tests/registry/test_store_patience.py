"""An object store that is away: waited for with patience, given up in time, never where waiting cannot help."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator

import pytest
from cut_proxy import CutProxy
from fsspec.implementations.memory import MemoryFileSystem
from object_servers import BUCKET, cuttable_s3

from xpm_stream import crash_points
from xpm_stream.errors import CheckpointError, RegistryUnavailable
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.registry.object_store import ObjectStore
from xpm_stream.registry.patience import Patience, StoreOutage
from xpm_stream.registry.promotion_log import PromotionLog
from xpm_stream.registry.store import open_store

FILES = {"model.safetensors": bytes(range(256)) * 4000, "config.json": b"{}"}


@pytest.fixture
def reached(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[CutProxy]:
    """The way to the S3 server."""
    with cuttable_s3(s3_endpoint, monkeypatch, attempts=1) as proxy:
        yield proxy


@pytest.fixture
def url() -> str:
    return f"s3://{BUCKET}/{uuid.uuid4().hex}/registry"


def _restore_at_second_outage(proxy: CutProxy, outages: list[StoreOutage]) -> Patience:
    def on_outage(outage: StoreOutage) -> None:
        outages.append(outage)
        if outage.attempt == 2:
            proxy.restore()

    return Patience(retry_for_s=60, on_outage=on_outage)


def test_whatever_is_asked_of_a_store_that_is_away_is_answered_when_it_is_back(reached: CutProxy, url: str) -> None:
    outages: list[StoreOutage] = []
    log = PromotionLog(open_store(url, patience=_restore_at_second_outage(reached, outages)))
    place = f"{url}/checkpoints"
    checkpoints = CheckpointStore(open_store(place, patience=_restore_at_second_outage(reached, outages)))
    reached.cut()
    checkpoints.write("a", FILES)
    reached.cut()
    assert checkpoints.read("a") == FILES
    reached.cut()
    assert log.propose("a", epoch=1, step=1).number == 1
    reached.cut()
    log.append("promote", candidate=1, by="test")
    reached.cut()
    assert [info.name for info in checkpoints.list()] == ["a"]
    reached.cut()
    checkpoints.delete("a")
    assert [outage.attempt for outage in outages] == [1, 2] * 6
    assert str(outages[0].error).startswith(f"the registry {place} does not answer (for ")
    assert str(outages[4].error).startswith(f"the registry {url} does not answer (for ")
    assert [entry.checkpoint for entry in PromotionLog(url).entries()] == ["a"]
    assert CheckpointStore(place).list() == []


def test_a_store_that_stays_away_is_given_up_and_what_follows_asks_once() -> None:
    outages: list[StoreOutage] = []
    patience = Patience(retry_for_s=1, on_outage=outages.append)

    def away() -> None:
        raise ConnectionRefusedError("away")

    def gone() -> None:
        raise FileNotFoundError("no such object")

    def given_up() -> int:
        before = len(outages)
        with pytest.raises(RegistryUnavailable, match=r"^the registry s3://x does not .*retry_for_s is 1\): away$"):
            patience.call(away, url="s3://x")
        return len(outages) - before

    assert given_up() > 0
    assert given_up() == 0, "it waited again"
    assert given_up() == 0
    assert patience.call(lambda: "answer", url="s3://x") == "answer"
    assert given_up() > 0, "it is impatient for good"
    with pytest.raises(FileNotFoundError):  # that is an answer, too
        patience.call(gone, url="s3://x")
    assert given_up() > 0


def test_who_is_told_to_stop_waits_no_longer(reached: CutProxy, url: str) -> None:
    stop = threading.Event()
    log = PromotionLog(open_store(url, patience=Patience(retry_for_s=3600, on_outage=lambda _: stop.set(), stop=stop)))
    reached.cut()
    with pytest.raises(RegistryUnavailable):
        log.entries()


def test_a_checkpoint_that_could_not_be_uploaded_says_that_the_store_is_away(
    reached: CutProxy, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_after_first(place: str) -> None:
        if place == "checkpoint.after_first_file":
            reached.cut()

    checkpoints = CheckpointStore(open_store(url, patience=Patience(retry_for_s=0.5)))
    with monkeypatch.context() as patch:
        patch.setattr(crash_points, "reach", cut_after_first)
        with pytest.raises(RegistryUnavailable, match="does not answer"):
            checkpoints.write("a", FILES)
    reached.restore()
    assert checkpoints.list() == []
    assert open_store(f"{url}/a").names("") == ["model.safetensors"], "all was cleaned up: this proves nothing"
    assert checkpoints.whole_or_free("a") == ("a-2", False)
    checkpoints.write("a-2", FILES)
    assert checkpoints.whole_or_free("a") == ("a-2", True)
    assert checkpoints.whole_or_free("b") == ("b", False)


@pytest.mark.parametrize(
    ("variables", "error"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "", "AWS_ACCESS_KEY_ID": ""}, "no credentials found"),
        ({"AWS_ENDPOINT_URL": "nonsense"}, "Invalid endpoint"),
        ({"AWS_ACCESS_KEY_ID": "reader"}, "Access Denied"),
    ],
)
def test_what_needs_a_person_is_not_waited_for(
    reached: CutProxy, url: str, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], error: str
) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    outages: list[StoreOutage] = []
    store = open_store(url, patience=Patience(retry_for_s=60, on_outage=outages.append))
    with pytest.raises(OSError, match=error) as told:
        store.create("promotions/00000001.json", b"{}")
    assert not isinstance(told.value, RegistryUnavailable)
    assert outages == []


class AwayAfterWriting(MemoryFileSystem):
    """Writes, and breaks the connection before it says so: once for each file."""

    protocol = "memory"
    cachable = False

    def __init__(self) -> None:
        super().__init__()
        self.broken: set[str] = set()

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: object) -> None:
        super().pipe_file(path, value, mode=mode)
        if path not in self.broken:
            self.broken.add(path)
            raise ConnectionResetError(path)


def test_a_file_that_was_written_before_the_connection_broke_is_ours() -> None:
    store = ObjectStore(
        AwayAfterWriting(), root=f"/{uuid.uuid4().hex}", url="s3://x", can_create=True, patience=Patience(retry_for_s=9)
    )
    checkpoints = CheckpointStore(store)
    checkpoints.write("a", FILES)
    assert checkpoints.read("a") == FILES


def test_another_ones_file_is_found_when_the_connection_broke() -> None:
    class Overtaken(AwayAfterWriting):
        def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: object) -> None:
            other = b"theirs" if path.endswith("config.json") and path not in self.broken else value
            super().pipe_file(path, other, mode=mode)

    store = ObjectStore(
        Overtaken(), root=f"/{uuid.uuid4().hex}", url="s3://x", can_create=True, patience=Patience(retry_for_s=9)
    )
    with pytest.raises(CheckpointError, match="half written"):
        CheckpointStore(store).write("a", FILES)
    assert store.names("a") == ["config.json"], "theirs is there, ours is gone"
