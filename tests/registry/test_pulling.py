"""Pulling a checkpoint: from whatever people name, over a plain web server, and after a kill."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from object_servers import web_server

from xpm_stream.errors import CheckpointError, ConfigError, RegistryError
from xpm_stream.registry import CheckpointStore, PromotionLog
from xpm_stream.registry.cache import DECISIONS, copy_checkpoint
from xpm_stream.registry.holds import Holds
from xpm_stream.registry.pulling import PullProgress, default_cache, pull_checkpoint
from xpm_stream.registry.revisions import split_revision

MIB = 2**20
FILES = {"config.json": b"{}", "model.safetensors": random.Random(0).randbytes(20 * MIB), "README.md": b"card"}
SMALL = {"config.json": b"{}", "model.safetensors": b"weights"}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder: first and second promoted, third refused, and its registry beside it."""
    root = tmp_path / "run"
    registry = root / "registry"
    log, store = PromotionLog(registry), CheckpointStore(registry / "checkpoints")
    for step, name in enumerate(("first", "second", "third"), start=1):
        store.write(name, SMALL | {"name.txt": name.encode()}, order=(1, step))
        log.append("refuse" if name == "third" else "promote", checkpoint=name, epoch=1, step=step, by="test")
    (root / "config.yaml").write_text(yaml.safe_dump({"folder": "/moved/since"}))
    return root


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """A registry whose champion has a file of several chunks."""
    CheckpointStore(tmp_path / "big" / "checkpoints").write("champ", FILES)
    PromotionLog(tmp_path / "big").append("promote", checkpoint="champ", by="test")
    return tmp_path / "big"


def pulled_name(folder: Path) -> str:
    return (folder / "name.txt").read_text()


def test_it_is_found_by_run_configuration_registry_or_its_own_folder(run: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (tmp_path / "other.yaml").write_text(yaml.safe_dump({"folder": str(run)}))
    named = yaml.safe_dump({"folder": "/nowhere", "registry": {"url": str(run / "registry")}})
    (tmp_path / "named.yaml").write_text(named)
    for url in (run, f"{run}/", tmp_path / "other.yaml", tmp_path / "named.yaml", run / "registry"):
        assert pulled_name(pull_checkpoint(url, cache=cache)) == "second"
    assert pulled_name(pull_checkpoint(run / "registry" / "checkpoints" / "third", cache=cache)) == "third"
    copy = pull_checkpoint(run, "first", cache=cache)
    assert pull_checkpoint(copy, cache=tmp_path / "unused") == copy, "a copy has its own folder's name, and is one"
    assert not (tmp_path / "unused").exists()


def test_local_places_may_be_written_as_urls_or_from_home(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    cache, alone = tmp_path / "cache", run / "registry" / "checkpoints" / "first"
    for place in (f"file://{run}", "~/run", f"file://{run}/config.yaml", "~/run/registry"):
        (run / "config.yaml").write_text(yaml.safe_dump({"folder": str(run)}))
        assert pulled_name(pull_checkpoint(place, cache=cache)) == "second"
    for place in (f"file://{alone}", "~/run/registry/checkpoints/first"):
        assert pull_checkpoint(place, cache=cache) == alone
    with pytest.raises(RegistryError, match=rf"is one file of a checkpoint: name its folder, {alone}"):
        pull_checkpoint(alone / "model.safetensors")


def test_an_at_sign_in_a_url_is_a_revision_only_if_nothing_is_there(run: Path, tmp_path: Path) -> None:
    (run / "registry").rename(run / "me@lab")
    with on_the_web(run, ranges=True) as web:
        assert split_revision(f"{web.url}/me@lab") == (f"{web.url}/me@lab", "champion")
        assert split_revision(f"{web.url}/me@lab@2") == (f"{web.url}/me@lab", "2")
    assert split_revision(f"{run}/me@lab") == (f"{run}/me@lab", "champion")
    assert split_revision(f"{run}/me@lab@first") == (f"{run}/me@lab", "first")


def test_a_revision_is_the_champion_an_entry_or_a_name(run: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    asked = {"champion": "second", "1": "first", 3: "third", "third": "third"}
    assert {one: pulled_name(pull_checkpoint(run, one, cache)) for one in asked} == asked
    PromotionLog(run / "registry").append("rollback", target=1, by="test")
    assert pulled_name(pull_checkpoint(run, cache=cache)) == "first"
    with pytest.raises(RegistryError, match="no entry 9: its log has entries 1 to 4"):
        pull_checkpoint(run, 9, cache)
    with pytest.raises(CheckpointError, match=r"no checkpoint 'fifth'.*first, second, third"):
        pull_checkpoint(run, "fifth", cache)
    for slip, meant in (("champoin", "champion"), ("secnod", "second")):
        with pytest.raises(CheckpointError, match=rf"no checkpoint '{slip}'.*did you mean '{meant}'\?"):
            pull_checkpoint(run, slip, cache)
    CheckpointStore(run / "registry" / "checkpoints").delete("third")
    with pytest.raises(CheckpointError, match=r"'third' of entry 3 .* was removed \(registry.keep_\*\)"):
        pull_checkpoint(run, 3, cache)
    assert not list((run / "registry" / "leases").iterdir()), "a lease is left"


def test_what_was_decided_on_it_comes_beside_its_files_and_is_renewed(run: Path, tmp_path: Path) -> None:
    def decided(folder: Path) -> list[tuple[int, str, object]]:
        entries = json.loads((folder / DECISIONS).read_text())
        return [(entry["number"], entry["action"], entry["checks"].get("gates")) for entry in entries]

    cache, log = tmp_path / "cache", PromotionLog(run / "registry")
    gates = [{"gate": "base_ap50", "outcome": "pass", "value": 44.5, "limit": 40.0, "why": "above"}]
    number = log.append("promote", checkpoint="third", by="test", checks={"gates": gates}).number
    folder = pull_checkpoint(run, cache=cache)
    assert decided(folder)[-1] == (number, "promote", gates)
    assert decided(copy_checkpoint(folder, tmp_path / "copy"))[-1] == (number, "promote", gates)
    log.append("revoke", target=number, by="test")
    assert pull_checkpoint(run, "third", cache) == folder
    assert [action for _, action, _ in decided(folder)][-2:] == ["promote", "revoke"]
    alone = pull_checkpoint(run / "registry" / "checkpoints" / "third")
    assert not (alone / DECISIONS).exists(), "a registry's own folder is not written to"


def test_what_is_no_registry_or_has_no_teacher_yet_is_said(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"no run folder \(config.yaml\), no registry"):
        pull_checkpoint(tmp_path)
    PromotionLog(tmp_path).propose("one", epoch=1, step=1)
    with pytest.raises(RegistryError, match=r"no teacher .* is promoted yet \(candidates: one\)"):
        pull_checkpoint(tmp_path)


def test_a_lease_is_held_while_it_is_pulled(run: Path, tmp_path: Path) -> None:
    held: list[dict[str, str]] = []
    pull_checkpoint(run, cache=tmp_path / "cache", on_progress=lambda _: held.append(Holds(run / "registry").leased()))
    assert held
    assert all(set(leases) == {"second"} for leases in held)
    assert Holds(run / "registry").leased() == {}


def test_the_cache_is_the_users_unless_named(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("XPM_STREAM_CACHE", raising=False)
    assert pull_checkpoint(run).parent == tmp_path / "xdg" / "xpm-stream" / "checkpoints" == default_cache()
    monkeypatch.setenv("XPM_STREAM_CACHE", str(tmp_path / "own"))
    assert pull_checkpoint(run).parent == tmp_path / "own" / "checkpoints"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XPM_STREAM_CACHE", "own")
    assert default_cache() == tmp_path / "own" / "checkpoints", "it holds when the folder is changed"
    monkeypatch.setenv("XPM_STREAM_CACHE", "~no-such-user/own")
    with pytest.raises(ConfigError, match="set XPM_STREAM_CACHE to one"):
        pull_checkpoint(run)


def test_a_damaged_checkpoint_in_its_own_folder_is_named(run: Path) -> None:
    folder = run / "registry" / "checkpoints" / "first"
    (folder / "model.safetensors").write_bytes(b"Weights")
    with pytest.raises(CheckpointError, match=r"model\.safetensors of checkpoint 'first'.*sha256"):
        pull_checkpoint(folder)


class Web:
    """A registry on a web server."""

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self._log = log

    def requests(self) -> list[tuple[str, str, int]]:
        """Path, range and bytes sent of each request so far."""
        lines = [line.split() for line in self._log.read_text().splitlines() if line.startswith("GET ")]
        return [(path, wanted, int(sent)) for _, path, wanted, sent in lines]

    def forget(self) -> None:
        with self._log.open("r+b") as stream:
            stream.truncate(0)


@contextlib.contextmanager
def on_the_web(folder: Path, *, ranges: bool, listing: bool = False) -> Iterator[Web]:
    log = folder.parent / "requests.log"
    with web_server(folder, log=log, ranges=ranges, listing=listing) as url:
        yield Web(url, log)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_plain_web_server_without_listings_is_enough(big: Path, tmp_path: Path, ranges: bool) -> None:
    said: list[PullProgress] = []
    with on_the_web(big, ranges=ranges) as web:
        folder = pull_checkpoint(web.url, cache=tmp_path / "cache", on_progress=said.append)
        assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name in FILES} == FILES
        assert [one.done for one in said] == sorted(one.done for one in said)
        assert len(said) > 2 * len(FILES), "no progress within a file"
        web.forget()
        assert pull_checkpoint(web.url, cache=tmp_path / "cache") == folder
        read = {path.rpartition("/")[2] for path, _, _ in web.requests()}
        assert read <= {"manifest.json", "00000001.json", "00000002.json", "config.yaml"}, "read it again"
        assert pull_checkpoint(f"{web.url}/checkpoints/champ", cache=tmp_path / "cache") == folder


KILLED = """
import os, signal, sys
from xpm_stream.registry.pulling import pull_checkpoint
def tell(progress):
    if progress.file == sys.argv[3] and progress.done >= int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)
pull_checkpoint(sys.argv[1], cache=sys.argv[2], on_progress=tell)
"""


@pytest.mark.parametrize("ranges", [True, False])
def test_killed_in_a_file_the_next_pull_reads_only_the_rest(big: Path, tmp_path: Path, ranges: bool) -> None:
    cache = tmp_path / "cache"
    with on_the_web(big, ranges=ranges) as web:
        command = [sys.executable, "-c", KILLED, web.url, str(cache), "model.safetensors", str(10 * MIB)]
        assert subprocess.run(command, check=False, timeout=60).returncode == -signal.SIGKILL
        assert not list(cache.glob("*@*"))
        (part,) = cache.glob(".partial/*@*/model.safetensors")
        here = part.stat().st_size
        assert 0 < here < 20 * MIB
        web.forget()
        folder = pull_checkpoint(web.url, cache=cache)
        sent = [(wanted, sent) for path, wanted, sent in web.requests() if path.endswith("model.safetensors")]
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name in FILES} == FILES
    if ranges:
        assert sent[0][0].startswith(f"bytes={here}-")
        assert sum(count for _, count in sent) == 20 * MIB - here, "brought more than the rest"
    assert not list((cache / ".partial").iterdir())


def test_killed_between_two_files_or_before_the_end_the_next_pull_is_whole(big: Path, tmp_path: Path) -> None:
    with on_the_web(big, ranges=True) as web:
        for file, done in (("config.json", 0), ("README.md", 20 * MIB), ("README.md", 20 * MIB + 6)):
            command = [sys.executable, "-c", KILLED, web.url, str(tmp_path / "cache"), file, str(done)]
            assert subprocess.run(command, check=False, timeout=60).returncode == -signal.SIGKILL
            assert not list((tmp_path / "cache").glob("*@*")), "half a checkpoint is seen"
        web.forget()
        folder = pull_checkpoint(web.url, cache=tmp_path / "cache")
        assert not [path for path, _, _ in web.requests() if path.endswith(("safetensors", ".md"))], "all was here"
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name in FILES} == FILES


def test_a_beginning_that_was_damaged_is_brought_again(big: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with on_the_web(big, ranges=True) as web:
        folder = pull_checkpoint(web.url, cache=cache)
        partial = cache / ".partial" / folder.name
        folder.rename(partial)
        (partial / "model.safetensors").write_bytes(bytes(5 * MIB))  # as a power cut may leave it
        (partial / "README.md").write_bytes(b"longer than it should be")
        pull_checkpoint(web.url, cache=cache)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name in FILES} == FILES


@pytest.mark.parametrize("ranges", [True, False])
def test_a_connection_that_breaks_off_is_made_again(big: Path, tmp_path: Path, ranges: bool) -> None:
    said: list[PullProgress] = []
    with on_the_web(big, ranges=ranges) as web:
        cut = big / "checkpoints" / "champ" / "model.safetensors.cut"
        cut.touch()
        folder = pull_checkpoint(web.url, cache=tmp_path / "cache", on_progress=said.append)
        assert not cut.exists(), "nothing broke off: proves nothing"
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name in FILES} == FILES
    assert [one.done for one in said] == sorted(one.done for one in said), "went back to the start"


def test_a_web_server_that_fails_is_no_older_champion_and_no_missing_file(run: Path, tmp_path: Path) -> None:
    with on_the_web(run, ranges=True) as web:
        broken = run / "registry" / "promotions" / "00000002.json.broken"
        broken.touch()
        with pytest.raises(RegistryError, match=rf"cannot read {web.url}.*500"):
            pull_checkpoint(f"{web.url}/registry", cache=tmp_path / "cache")
        broken.unlink()
        assert pulled_name(pull_checkpoint(web.url, cache=tmp_path / "cache")) == "second", "the run folder's URL"
        (run / "registry" / "checkpoints" / "first" / "model.safetensors.broken").touch()
        with pytest.raises(CheckpointError, match=r"cannot bring checkpoint 'first'.*500.*try again to go on"):
            pull_checkpoint(web.url, "first", cache=tmp_path / "cache")
    with pytest.raises(RegistryError, match=rf"cannot read {web.url}"):
        pull_checkpoint(web.url, cache=tmp_path / "cache")


@pytest.mark.parametrize("listing", [True, False])
def test_a_web_server_is_read_and_never_written(run: Path, listing: bool) -> None:
    with on_the_web(run, ranges=True, listing=listing) as web:
        url = f"{web.url}/registry"
        refused = pytest.raises(RegistryError, match=rf"{web.url}.*is a web server, which can be read and not written")
        with refused:
            PromotionLog(url).append("promote", checkpoint="a", by="test")
        with refused:
            CheckpointStore(f"{url}/checkpoints").write("a", SMALL)
        with refused, Holds(url).lease("first"):
            pass
        with refused:
            CheckpointStore(f"{url}/checkpoints").delete("first")
        if listing:
            names = [info.name for info in CheckpointStore(f"{url}/checkpoints").list()]
            assert names == ["first", "second", "third"]
        else:
            with pytest.raises(RegistryError, match="does not list its folders"):
                CheckpointStore(f"{url}/checkpoints").list()
