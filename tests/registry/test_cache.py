"""Copies of checkpoints on this machine: checked, repaired, shared between processes, and gone on with after a kill."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from redis_servers import until

from xpm_stream.errors import CheckpointError
from xpm_stream.registry import CheckpointCache, CheckpointStore, PromotionLog
from xpm_stream.registry.cache import PullProgress
from xpm_stream.registry.pulling import pull_checkpoint

FILES = {"model.safetensors": bytes(range(256)) * 40, "state.json": b'{"step": 3}', "empty.txt": b""}


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CheckpointStore]:
    if request.param == "local":
        yield CheckpointStore(tmp_path / "checkpoints")
    else:
        yield CheckpointStore(f"memory://{tmp_path.name}/checkpoints")
        fsspec.filesystem("memory").store.clear()


@pytest.fixture
def cache(tmp_path: Path) -> CheckpointCache:
    return CheckpointCache(tmp_path / "cache")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}


def test_a_copy_is_whole_survives_pruning_and_is_repaired(store: CheckpointStore, cache: CheckpointCache) -> None:
    store.write("a", FILES)
    folder = cache.bring(store.folder("a"))
    assert contents(folder) == FILES
    assert (folder / "manifest.json").read_bytes() == store.folder("a").manifest()
    (folder / "state.json").unlink()
    (folder / "state.json").write_bytes(b"damaged")
    assert cache.bring(store.folder("a")) == folder
    assert contents(folder) == FILES
    for damage in (b"", (folder / "manifest.json").read_bytes()[:-9]):
        (folder / "manifest.json").write_bytes(damage)
        assert cache.bring(store.folder("a")) == folder
        assert (folder / "manifest.json").read_bytes() == store.folder("a").manifest()
    store.delete("a")
    assert contents(folder) == FILES


def test_a_new_checkpoint_of_an_old_name_is_not_taken_from_the_cache(
    store: CheckpointStore, cache: CheckpointCache
) -> None:
    store.write("a", FILES)
    cache.bring(store.folder("a"))
    store.delete("a")
    store.write("a", {"state.json": b"new"})
    assert contents(cache.bring(store.folder("a"))) == {"state.json": b"new"}


def test_progress_grows_to_all_bytes_file_by_file(store: CheckpointStore, cache: CheckpointCache) -> None:
    info = store.write("a", FILES)
    said: list[PullProgress] = []
    cache.bring(store.folder("a"), on_progress=said.append)
    done = [one.done for one in said]
    assert done == sorted(done)
    assert (said[-1].done, {one.total for one in said}) == (info.size, {info.size})
    assert list(dict.fromkeys(one.file for one in said)) == list(FILES)
    said.clear()
    cache.bring(store.folder("a"), on_progress=said.append)
    assert said == [], "it is here already"


def test_what_is_altered_in_the_registry_never_enters_the_cache(
    store: CheckpointStore, cache: CheckpointCache, tmp_path: Path
) -> None:
    store.write("a", FILES)
    if store.url.startswith("memory"):
        fsspec.filesystem("memory").pipe_file(f"{store.url.removeprefix('memory:/')}/a/state.json", b'{"step": 4}')
    else:
        (Path(store.url) / "a" / "state.json").write_bytes(b'{"step": 4}')
    with pytest.raises(CheckpointError, match=r"state\.json of checkpoint 'a' in .* differs from its sha256"):
        cache.bring(store.folder("a"))
    assert not list((tmp_path / "cache").glob("*@*"))


def test_a_cache_is_trimmed_to_the_last_used(store: CheckpointStore, cache: CheckpointCache, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        store.write(name, FILES)
        cache.bring(store.folder(name))
    cache.bring(store.folder("a"))
    half = tmp_path / "cache" / ".partial" / "d@0123"
    half.mkdir()
    assert [name.split("@")[0] for name in cache.trim(keep=2)] == ["b"]
    assert {path.name.split("@")[0] for path in (tmp_path / "cache").glob("*@*")} == {"a", "c"}
    assert not list((tmp_path / "cache" / ".partial").iterdir())
    with pytest.raises(ValueError, match="at least 1"):
        cache.trim(keep=0)


def test_a_full_cache_is_said_and_what_came_is_kept(small_disk: Path, tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.write("big", {"a.bin": b"a" * 2**20, "b.bin": bytes(8 * 2**20)})
    with pytest.raises(CheckpointError, match=r"cannot bring checkpoint 'big'.*disk is full.*XPM_STREAM_CACHE"):
        CheckpointCache(small_disk / "cache").bring(store.folder("big"))
    assert not list((small_disk / "cache").glob("*@*"))
    assert [path.name for path in (small_disk / "cache" / ".partial").glob("*@*/a.bin")] == ["a.bin"]


def test_a_cache_on_a_read_only_disk_gives_what_it_has(tmp_path: Path) -> None:
    if not shutil.which("mount") or os.geteuid() != 0:
        pytest.skip("a read-only disk needs the right to mount one (root)")
    registry, cache = tmp_path / "registry", tmp_path / "cache"
    log = PromotionLog(registry)
    CheckpointStore(registry / "checkpoints").write("a", FILES)
    log.append("promote", checkpoint="a", by="test")
    folder = pull_checkpoint(registry, cache=cache)
    log.append("rollback", target=1, by="test")  # more to say beside its files
    subprocess.run(["mount", "--bind", cache, cache], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", cache], check=True)
        assert pull_checkpoint(registry, cache=cache) == folder
    finally:
        subprocess.run(["umount", cache], check=True)
    assert contents(folder).keys() == {*FILES, "decisions.json"}
    shutil.rmtree(cache / ".partial")  # a cache that was copied without it
    assert len(json.loads((pull_checkpoint(registry, cache=cache) / "decisions.json").read_text())) == 2
    assert not list((cache / ".partial").iterdir())


# Brings checkpoint `a` through a pipe that gives a byte for each file; says what it found.
BRINGER = """
import sys
from xpm_stream.registry import CheckpointCache, CheckpointStore
def tell(progress):
    print("waiting" if progress.waiting else "at " + progress.file, flush=True)
    if "slow" in sys.argv and not progress.waiting and progress.done == 0:
        sys.stdin.readline()
folder = CheckpointCache(sys.argv[2]).bring(CheckpointStore(sys.argv[1]).folder("a"), on_progress=tell)
print("brought", folder, flush=True)
"""


@pytest.mark.parametrize("first", ["ends", "is killed"])
def test_two_processes_bring_it_once_and_the_second_goes_on_if_the_first_is_killed(tmp_path: Path, first: str) -> None:
    store = CheckpointStore(tmp_path / "checkpoints")
    store.write("a", FILES)

    with contextlib.ExitStack() as started:

        def start(*how: str) -> subprocess.Popen[str]:
            arguments = [sys.executable, "-c", BRINGER, store.url, str(tmp_path / "cache"), *how]
            process = started.enter_context(
                subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            started.callback(process.kill)
            return process

        holder = start("slow")
        assert holder.stdout is not None
        assert holder.stdout.readline() == "at model.safetensors\n"
        waiter = start()
        assert waiter.stdout is not None
        assert waiter.stdout.readline() == "waiting\n"
        if first == "is killed":
            holder.kill()
            assert waiter.communicate(timeout=60)[0].splitlines()[0] == "at model.safetensors"
        else:
            held, _ = holder.communicate("\n\n\n", timeout=60)
            said, _ = waiter.communicate(timeout=60)
            assert said == held.splitlines(keepends=True)[-1], "the second brought it again"
        assert waiter.returncode == 0
    (folder,) = (tmp_path / "cache").glob("*@*")
    assert contents(folder) == FILES
    until(lambda: not list((tmp_path / "cache" / ".partial").iterdir()), what="nothing is left behind", within_s=5)


def test_a_hostile_manifest_cannot_name_files_outside_its_folder(tmp_path: Path, cache: CheckpointCache) -> None:
    import hashlib
    import json

    store = CheckpointStore(tmp_path / "checkpoints")
    store.write("a", FILES)
    path = tmp_path / "checkpoints" / "a" / "manifest.json"
    tree = json.loads(path.read_bytes())
    tree["files"]["../../../outside"] = tree["files"].pop("state.json")
    content = {key: value for key, value in tree.items() if key != "digest"}
    tree["digest"] = hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    path.write_text(json.dumps(tree))
    (tmp_path / "outside").write_bytes(FILES["state.json"])
    with pytest.raises(CheckpointError, match="is no name"):
        cache.bring(store.folder("a"))
