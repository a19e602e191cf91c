"""The registry on a server that speaks S3: real requests, real processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest
from object_servers import s3_environment
from redis_servers import until

from xpm_stream.errors import CheckpointError, RegistryError
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.registry.holds import Holds
from xpm_stream.registry.promotion_log import PromotionLog
from xpm_stream.registry.pulling import pull_checkpoint
from xpm_stream.registry.store import open_store

FILES = {"model.safetensors": bytes(range(256)) * 4000, "config.json": b"{}", "empty.txt": b""}

RACER = """
import sys
from pathlib import Path
from xpm_stream.errors import PromotionConflict
from xpm_stream.registry import PromotionLog
url, name, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
log = PromotionLog(url)
log.entries()
print("ready", flush=True)
sys.stdin.readline()
while (after := len(log.entries())) < rounds:
    try:
        log.append("promote", checkpoint=f"{name}-{after}", by=name, after=after)
        print("won", after + 1, flush=True)
    except PromotionConflict:
        print("lost", flush=True)
"""

UPLOADER = """
import sys
from pathlib import Path
from xpm_stream.registry import CheckpointStore
CheckpointStore(sys.argv[1]).write("new", {"model.safetensors": b"weights" * 1000, "config.json": b"{}"}, order=(2,))
"""


def test_racing_promoters_give_each_number_one_winner_and_lose_no_entry(s3: str) -> None:
    rounds = 20
    racers = {
        name: subprocess.Popen(
            [sys.executable, "-c", RACER, s3, name, str(rounds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("p0", "p1", "p2", "p3")
    }
    try:
        for racer in racers.values():
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        for racer in racers.values():
            assert racer.stdin is not None
            racer.stdin.write("\n")
            racer.stdin.flush()
        said = {name: racer.communicate(timeout=120)[0].splitlines() for name, racer in racers.items()}
    finally:
        for racer in racers.values():
            racer.kill()
            racer.wait()
    won = sorted((int(line.split()[1]), name) for name, lines in said.items() for line in lines if line != "lost")
    entries = PromotionLog(s3).entries()
    assert [(entry.number, entry.by) for entry in entries] == won, "an entry has two winners, or was overwritten"
    assert [number for number, _ in won] == list(range(1, rounds + 1))
    assert all(entry.checkpoint == f"{entry.by}-{entry.number - 1}" for entry in entries)
    assert sum(lines.count("lost") for lines in said.values()) > 0, "nobody raced: the test proves nothing"


@pytest.mark.parametrize("place", ["checkpoint.after_first_file", "checkpoint.before_publish"])
def test_a_checkpoint_whose_uploader_was_killed_between_two_files_is_never_seen(s3: str, place: str) -> None:
    store = CheckpointStore(f"{s3}/checkpoints")
    store.write("old", FILES, order=(1,))
    crash = os.environ | {"XPM_STREAM_CRASH_AT": place}
    killed = subprocess.run([sys.executable, "-c", UPLOADER, store.url], env=crash, check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert "model.safetensors" in open_store(f"{store.url}/new").names(""), "nothing was uploaded: proves nothing"
    assert [info.name for info in store.list()] == ["old"]
    assert store.latest() == store.info("old")
    for look in (store.info, store.read):
        with pytest.raises(CheckpointError, match="there is no checkpoint 'new'"):
            look("new")
    with pytest.raises(CheckpointError, match="half written"):
        store.write("new", FILES)
    store.delete("new")
    store.write("new", FILES, order=(2,))
    assert store.read("new") == FILES


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "manifest.json"])
def test_a_flipped_byte_in_a_stored_object_is_found_and_named(s3: str, file: str) -> None:
    import s3fs

    store = CheckpointStore(f"{s3}/checkpoints")
    store.write("a", FILES)
    objects = s3fs.S3FileSystem()
    data = bytearray(objects.cat_file(f"{s3}/checkpoints/a/{file}"))
    data[len(data) // 2] ^= 1
    objects.pipe_file(f"{s3}/checkpoints/a/{file}", bytes(data))
    with pytest.raises(CheckpointError, match=rf"'a' in {s3}/checkpoints .*{file}|{file} of checkpoint 'a' in {s3}"):
        store.read("a")


def test_a_server_that_ignores_the_condition_of_a_write_is_refused_before_the_first(forgetful_s3: str) -> None:
    expected = rf"{forgetful_s3}.* cannot create a file only if it is absent, so two promoters could both win; set"
    with pytest.raises(RegistryError, match=expected):
        PromotionLog(forgetful_s3).append("promote", checkpoint="a", by="test")
    with pytest.raises(RegistryError, match=expected):
        CheckpointStore(f"{forgetful_s3}/checkpoints").write("a", FILES)
    with pytest.raises(RegistryError, match=expected), Holds(forgetful_s3).lease("a"):
        pass
    assert PromotionLog(forgetful_s3).entries() == []


def test_a_store_that_does_not_answer_is_an_error_with_its_url(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    for name, value in s3_environment("http://127.0.0.1:1").items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(OSError, match=rf"{s3}.*127\.0\.0\.1:1"):
        PromotionLog(s3).entries()


def test_leases_pins_and_deletions_work_as_on_a_disk(s3: str) -> None:
    holds, store = Holds(s3), CheckpointStore(f"{s3}/checkpoints")
    store.write("a", FILES)
    with holds.lease("a"):
        assert set(holds.leased()) == {"a"}
    assert holds.leased() == {}
    holds.pin("a", by="alice", reason="Table 2")
    assert holds.pins()["a"].reason == "Table 2"
    holds.unpin("a")
    store.delete("a")
    assert (holds.pins(), store.list()) == ({}, [])


def test_a_pull_from_s3_is_whole_and_read_once(s3: str, tmp_path: Path) -> None:
    import s3fs

    store = CheckpointStore(f"{s3}/checkpoints")
    store.write("a", FILES | {"large.bin": bytes(range(256)) * 40_000})  # more than one range
    PromotionLog(s3).append("promote", checkpoint="a", by="test")
    folder = pull_checkpoint(s3, cache=tmp_path)
    assert {path.name for path in folder.iterdir()} == {*FILES, "large.bin", "manifest.json", "decisions.json"}
    assert (folder / "large.bin").read_bytes() == bytes(range(256)) * 40_000
    assert Holds(s3).leased() == {}
    s3fs.S3FileSystem().rm_file(f"{s3}/checkpoints/a/large.bin")
    assert pull_checkpoint(s3, cache=tmp_path) == folder, "read more than the manifest"
    with pytest.raises(CheckpointError, match=r"large.bin of checkpoint 'a' .* is missing"):
        pull_checkpoint(s3, cache=tmp_path / "other")


def test_half_an_upload_cannot_be_pulled(s3: str, tmp_path: Path) -> None:
    PromotionLog(s3).propose("new", epoch=1, step=1)
    crash = os.environ | {"XPM_STREAM_CRASH_AT": "checkpoint.before_publish"}
    subprocess.run([sys.executable, "-c", UPLOADER, f"{s3}/checkpoints"], env=crash, check=False, timeout=60)
    with pytest.raises(CheckpointError, match="there is no checkpoint 'new'"):
        pull_checkpoint(s3, "new", cache=tmp_path)
    assert not list(tmp_path.glob("*@*"))


# Pulls the oldest checkpoints, which are being removed all the time, each into a cache of its own.
PULLER = """
import sys, tempfile
from pathlib import Path
from xpm_stream.errors import CheckpointError
from xpm_stream.registry import CheckpointStore
from xpm_stream.registry.pulling import pull_checkpoint
url, end = sys.argv[1], Path(sys.argv[2])
while not end.exists():
    for info in CheckpointStore(f"{url}/checkpoints").list()[:2]:
        begun = []
        with tempfile.TemporaryDirectory() as cache:
            try:
                folder = pull_checkpoint(url, info.name, cache=cache, on_progress=lambda _: begun.append(1))
                assert (folder / "config.json").read_bytes() == info.name.encode()
            except CheckpointError as error:
                assert not begun, f"a pull that had begun failed: {error}"
                print("refused", flush=True)
            else:
                print("pulled", flush=True)
"""

COLLECTOR = """
import sys
from pathlib import Path
from pathlib import Path
from xpm_stream.registry import CheckpointStore, PromotionLog
from xpm_stream.registry.collector import Collector
from xpm_stream.registry.holds import Holds
from xpm_stream.registry.retention import RetentionPolicy
url, end = sys.argv[1], Path(sys.argv[2])
collector = Collector(
    checkpoints=CheckpointStore(f"{url}/checkpoints"), promotions=PromotionLog(url), holds=Holds(url),
    policy=RetentionPolicy(keep_promotions=2, keep_candidates=0, keep_unnamed_s=3600), remove_after_s=0.2,
)
while not end.exists():
    for name in collector.collect().removed:
        print("removed", flush=True)
"""


@pytest.mark.slow
def test_a_pull_that_has_begun_never_fails_while_checkpoints_are_removed(s3: str, tmp_path: Path) -> None:
    log, store = PromotionLog(s3), CheckpointStore(f"{s3}/checkpoints")
    end, number = tmp_path / "end", 0
    outputs = [tmp_path / f"{index}.txt" for index in range(3)]

    def said() -> list[str]:
        return [line for output in outputs for line in output.read_text().splitlines()]

    def enough() -> bool:
        nonlocal number
        number += 1
        name = f"c{number:05d}"
        store.write(name, {"config.json": name.encode(), "model.safetensors": b"w" * 1000}, order=(number,))
        log.append("promote", checkpoint=name, epoch=1, step=number, by="test")
        assert all(process.poll() is None for process in processes), "\n".join(said()[-30:])
        return said().count("pulled") >= 12 and said().count("removed") >= 8

    with contextlib.ExitStack() as started:
        processes = []
        for program, output in zip((PULLER, PULLER, COLLECTOR), outputs, strict=True):
            sink = started.enter_context(output.open("wb"))
            command = [sys.executable, "-c", program, s3, str(end)]
            processes.append(started.enter_context(subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT)))
            started.callback(processes[-1].kill)
        until(enough, what="pulls beside removals", within_s=200)
        end.touch()
        assert [process.wait(60) for process in processes] == [0] * 3, said()[-30:]
    assert Holds(s3).leased() == {}


def test_a_public_bucket_is_read_without_credentials(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    url = "s3://public/registry"
    s3fs.S3FileSystem().mkdir("public", acl="public-read")
    CheckpointStore(f"{url}/checkpoints").write("a", FILES)
    PromotionLog(url).append("promote", checkpoint="a", by="test")
    s3fs.S3FileSystem().chmod(url, "public-read", recursive=True)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(RegistryError, match="FSSPEC_S3_ANON=true"):
        pull_checkpoint(url, cache=tmp_path)
    monkeypatch.setitem(fsspec.config.conf, "s3", {"anon": True})  # what FSSPEC_S3_ANON=true says, read at import
    s3fs.S3FileSystem.clear_instance_cache()
    assert (pull_checkpoint(url, cache=tmp_path) / "config.json").read_bytes() == FILES["config.json"]


def test_who_may_only_read_pulls_without_a_lease_and_is_told(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import s3fs

    CheckpointStore(f"{s3}/checkpoints").write("a", FILES)
    PromotionLog(s3).append("promote", checkpoint="a", by="test")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "reader")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(PermissionError), Holds(s3).lease("a"):
        pass
    caplog.set_level("INFO", logger="xpm_stream.registry")
    assert (pull_checkpoint(s3, cache=tmp_path) / "config.json").read_bytes() == FILES["config.json"]
    told = [record for record in caplog.records if "reading a without a lease" in record.message]
    assert [record.levelname for record in told] == ["INFO"]
