"""Checkpoints: whole, durable, checked."""

from __future__ import annotations

import errno
import random
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from xpm_stream.errors import CheckpointError, RegistryError
from xpm_stream.registry import CheckpointCache, CheckpointStore
from xpm_stream.registry.local_store import locked_scratch, remove_leftovers
from xpm_stream.registry.object_store import ObjectStore
from xpm_stream.registry.store import open_store

FILES = {"model.safetensors": bytes(range(256)) * 40, "state.json": b'{"step": 3}'}


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CheckpointStore]:
    if request.param == "local":
        yield CheckpointStore(tmp_path / "checkpoints")
    else:
        yield CheckpointStore(f"memory://{tmp_path.name}/checkpoints")
        fsspec.filesystem("memory").store.clear()


def test_what_is_written_is_read_back(store: CheckpointStore, tmp_path: Path) -> None:
    source = tmp_path / "weights"
    source.write_bytes(b"from a file" * 1000)
    written = store.write(
        "a", FILES | {"ema.safetensors": source}, metadata={"epoch": 1, "losses": [0.5]}, order=(1, 3)
    )
    assert store.read("a") == FILES | {"ema.safetensors": source.read_bytes()}
    assert store.info("a") == written
    assert written.metadata == {"epoch": 1, "losses": [0.5]}
    assert written.size == sum(map(len, store.read("a").values()))


def test_latest_follows_the_order_given_not_the_clock_nor_the_name(tmp_path: Path) -> None:
    ticks = iter([300.0, 200.0, 100.0, 50.0])
    store = CheckpointStore(tmp_path, clock=lambda: next(ticks))
    store.write("z-new-epoch", FILES, order=(2, 10))
    store.write("a-zombie", FILES, order=(1, 99))
    store.write("m-same", FILES, order=(2, 10))
    assert [info.name for info in store.list()] == ["a-zombie", "z-new-epoch", "m-same"]
    latest = store.latest()
    assert latest is not None
    assert latest.name == "m-same"
    assert CheckpointStore(tmp_path / "empty").latest() is None


def test_a_name_is_written_once(store: CheckpointStore) -> None:
    store.write("a", FILES)
    with pytest.raises(CheckpointError, match="already in"):
        store.write("a", {"model.safetensors": b"other"})
    assert store.read("a") == FILES


@pytest.mark.parametrize("name", ["../a", "a/b", "", ".hidden", "a b", "ü"])
def test_names_that_could_leave_the_folder_are_refused(store: CheckpointStore, name: str) -> None:
    for call in (lambda: store.write(name, FILES), lambda: store.read(name), lambda: store.delete(name)):
        with pytest.raises(CheckpointError, match="cannot name"):
            call()
    with pytest.raises(CheckpointError, match="cannot name"):
        store.write("fine", {name: b""})


def test_the_manifest_cannot_be_replaced_and_sources_must_exist(store: CheckpointStore, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="written for you"):
        store.write("a", {"manifest.json": b""})
    with pytest.raises(CheckpointError, match="which is not a file"):
        store.write("a", {"model.safetensors": tmp_path / "nowhere"})
    with pytest.raises(CheckpointError, match="must be JSON values"):
        store.write("a", FILES, metadata={"when": object()})
    assert store.list() == []


def test_a_flipped_byte_in_any_file_is_found(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "store")
    store.write("a", FILES, metadata={"epoch": 7}, order=(7,))
    for path in sorted((tmp_path / "store" / "a").iterdir()):
        whole = path.read_bytes()
        position = whole.index(b"7") if path.name == "manifest.json" else len(whole) // 2
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(CheckpointError, match=r"differs from its sha256|was altered|damaged"):
            store.read("a")
        with pytest.raises(CheckpointError, match=r"differs from its sha256|was altered|damaged"):
            CheckpointCache(tmp_path / "cache").bring(store.folder("a"))
        path.write_bytes(whole)
    assert store.read("a") == FILES
    assert not list((tmp_path / "cache").glob("*@*"))


def test_a_missing_checkpoint_or_file_is_named(store: CheckpointStore) -> None:
    store.write("b", FILES)
    with pytest.raises(CheckpointError, match=r"no checkpoint 'a' in .*\(the last names there: b\)"):
        store.read("a")
    with pytest.raises(CheckpointError, match="no checkpoint 'a'"):
        store.delete("a")


def test_a_lost_file_is_named(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.write("a", FILES)
    (tmp_path / "a" / "state.json").unlink()
    with pytest.raises(CheckpointError, match=r"state\.json of checkpoint 'a' .* is missing"):
        store.read("a")


def test_prune_keeps_the_latest_and_the_pinned(store: CheckpointStore) -> None:
    for step in range(5):
        store.write(f"s{step}", FILES, order=(step,))
    assert store.prune(keep=2, pinned={"s0"}) == ("s1", "s2")
    assert [info.name for info in store.list()] == ["s0", "s3", "s4"]
    with pytest.raises(ValueError, match="at least 1"):
        store.prune(keep=0)


def test_a_full_disk_is_said_and_leaves_the_earlier_checkpoints(small_disk: Path) -> None:
    store = CheckpointStore(small_disk / "checkpoints")
    store.write("first", FILES)
    with pytest.raises(CheckpointError, match=r"model.safetensors .*'big'.*disk is full.*registry\.url") as caught:
        store.write("big", {"state.json": b"{}", "model.safetensors": bytes(8 * 2**20)})
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ENOSPC
    assert [info.name for info in store.list()] == ["first"]
    assert list((small_disk / "checkpoints" / ".incoming").iterdir()) == []
    store.write("small", {"model.safetensors": bytes(2 * 2**20)})  # the room came back
    assert store.read("first") == FILES


LIMITED_WRITER = """
import resource, signal, sys
from xpm_stream.errors import CheckpointError
from xpm_stream.registry import CheckpointCache, CheckpointStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
store = CheckpointStore(sys.argv[1])
try:
    store.write("big", {"model.safetensors": bytes(2**21)})
except CheckpointError as error:
    print(error)
print([info.name for info in store.list()])
"""


def test_a_file_limit_is_said_like_a_full_disk(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", LIMITED_WRITER, str(tmp_path)], capture_output=True, text=True, check=True
    )
    message, names = run.stdout.splitlines()
    assert "disk is full or the quota is reached" in message
    assert names == "[]"
    assert list((tmp_path / ".incoming").iterdir()) == []


WRITER = """
import itertools, sys
from xpm_stream.registry import CheckpointCache, CheckpointStore
store = CheckpointStore(sys.argv[1])
print("ready", flush=True)
for step in itertools.count():
    files = {f"file{i}": bytes([step % 256]) * 200_000 for i in range(4)}
    store.write(f"{sys.argv[2]}-{step}", files, order=(step,))
    print(step, flush=True)
"""


def write_until_killed(root: Path, prefix: str, chance: random.Random) -> list[str]:
    """Run the writer, kill it at a random point of a write, return the steps it had finished."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(root), prefix], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            finished = [process.stdout.readline() for _ in range(chance.randrange(1, 4))]
            for _ in range(chance.randrange(400)):  # so many looks into a folder later
                list(root.iterdir())
        finally:
            process.kill()
        return [line.strip() for line in (*finished, *process.stdout)]


def test_a_writer_killed_anywhere_leaves_whole_checkpoints_or_nothing(tmp_path: Path) -> None:
    root, chance = tmp_path / "checkpoints", random.Random(0)
    store = CheckpointStore(root)
    for attempt in range(6):
        finished = write_until_killed(root, f"w{attempt}", chance)
        checkpoints = store.list()
        assert {f"w{attempt}-{step}" for step in finished} <= {info.name for info in checkpoints}
        for info in checkpoints:
            assert len(set(b"".join(store.read(info.name).values()))) == 1
        for info in checkpoints[:-1]:
            store.delete(info.name)
    store.write("after", FILES)
    assert list((root / ".incoming").iterdir()) == [], "the next writer removes what killed ones left"


def test_the_leftovers_of_the_living_stay(tmp_path: Path) -> None:
    with locked_scratch(tmp_path) as scratch:
        (scratch / "file").write_bytes(b"work")
        # A lock belongs to an open file, so this process competes with itself as another would.
        remove_leftovers(tmp_path)
        assert (scratch / "file").exists()
    assert list(tmp_path.iterdir()) == []


def test_half_an_upload_is_invisible_and_can_be_deleted() -> None:
    store = CheckpointStore("memory://half/checkpoints")
    fsspec.filesystem("memory").pipe_file("/half/checkpoints/a/model.safetensors", b"half")
    assert store.list() == []
    with pytest.raises(CheckpointError, match="no checkpoint"):
        store.read("a")
    with pytest.raises(CheckpointError, match="half written"):
        store.write("a", FILES)
    assert fsspec.filesystem("memory").cat_file("/half/checkpoints/a/model.safetensors") == b"half"
    store.delete("a")
    store.write("a", FILES)
    assert store.read("a") == FILES
    fsspec.filesystem("memory").store.clear()


def test_an_upload_that_fails_removes_what_it_had_uploaded(tmp_path: Path) -> None:
    store = CheckpointStore("memory://fails/checkpoints")
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/fails/checkpoints/a/second", b"somebody's")
    with pytest.raises(CheckpointError, match="half written"):
        store.write("a", {"first": b"1", "second": b"2"})
    assert memory.find("/fails") == ["/fails/checkpoints/a/second"]
    memory.store.clear()


def test_a_backend_without_atomic_create_refuses_to_write(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x/b.txt", "b")
    with pytest.raises(RegistryError, match=r"two promoters could both win; set registry.url"):
        open_store(f"zip://x::{tmp_path}/a.zip").create("promotions/00000001.json", b"{}")


class ForgetfulFileSystem(MemoryFileSystem):
    """Overwrites whatever the condition, as servers do that speak an older S3."""

    protocol = "forgetful"

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: object) -> None:
        super().pipe_file(path, value)


def test_a_server_that_ignores_the_condition_is_found_out_before_the_first_write() -> None:
    store = ObjectStore(ForgetfulFileSystem(), root="/forgetful", url="s3://forgetful", can_create=True)
    with pytest.raises(RegistryError, match="two promoters could both win"):
        store.create("promotions/00000001.json", b"{}")
    with pytest.raises(RegistryError, match="two promoters could both win"):
        CheckpointStore(store).write("a", FILES)
    assert fsspec.filesystem("memory").find("/forgetful") == []


@pytest.mark.parametrize("url", ["pipe:cat x", "python://x", "simplecache::pipe:cat", "nonsense://x"])
def test_urls_that_run_programs_or_are_unknown_are_refused(url: str) -> None:
    with pytest.raises(RegistryError, match=r"refused|cannot be opened"):
        open_store(url)


def test_credentials_in_a_url_are_not_shown() -> None:
    assert "hunter2" not in open_store("memory://me:hunter2@host/registry").url
