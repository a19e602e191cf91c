"""Shards named once, and shards that come while everything runs: taken when their writers are done."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from xpm_stream.config.data_sections import DataConfig
from xpm_stream.config.queue_sections import QueueConfig, RedisConfig
from xpm_stream.data.shard_urls import ShardFile
from xpm_stream.errors import ShardError
from xpm_stream.label_queue import LabelQueue, connect
from xpm_stream.stages import shard_registration
from xpm_stream.stages.shard_registration import ShardRegistration
from xpm_stream.stages.watchdog import Watchdog

TAR = b"\0" * 1024


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[LabelQueue]:
    with connect(RedisConfig(), QueueConfig(), run_folder=tmp_path / "run") as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "shards"
    made.mkdir()
    return made


def write_stats(shard: Path, samples: int) -> None:
    shard.with_name(f"{shard.stem}_stats.json").write_text(json.dumps({"successes": samples}))


def names(queue: LabelQueue) -> list[str]:
    return [row.url.rpartition("/")[2] for row in sorted(queue.shard_rows(), key=lambda row: row.order)]


def test_named_shards_are_taken_at_once_and_never_looked_at_again(queue: LabelQueue, folder: Path) -> None:
    (folder / "a.tar").write_bytes(TAR)
    registration = ShardRegistration(DataConfig(shards=[f"{folder}/*.tar"], passes=2), queue=queue)
    assert registration.look() == 2
    (folder / "b.tar").write_bytes(TAR)
    assert registration.look() == 0
    assert names(queue) == ["a.tar", "a.tar"]


def test_a_missing_named_shard_is_an_error(queue: LabelQueue, folder: Path) -> None:
    registration = ShardRegistration(DataConfig(shards=[f"{folder}/none.tar"]), queue=queue)
    with pytest.raises(ShardError, match=r"none\.tar does not exist"), registration:
        pass


def test_a_watched_shard_is_taken_once_it_did_not_change_between_two_looks(queue: LabelQueue, folder: Path) -> None:
    queue.watch(f"{folder}/*.tar")
    registration = ShardRegistration(DataConfig(), queue=queue)
    shard = folder / "a.tar"
    shard.write_bytes(TAR)
    assert registration.look() == 0
    shard.write_bytes(2 * TAR)  # still being written
    assert registration.look() == 0
    assert registration.look() == 1
    assert registration.look() == 0


def test_a_watched_shard_with_statistics_is_taken_at_first_sight_with_their_count(
    queue: LabelQueue, folder: Path
) -> None:
    registration = ShardRegistration(DataConfig(shards=[str(folder)], watch=True), queue=queue)
    assert registration.look() == 0
    (folder / "a.tar").write_bytes(TAR)
    write_stats(folder / "a.tar", 7)
    (folder / "b.tar").write_bytes(TAR)
    (folder / "b_stats.json").write_text("{}")  # somebody else's statistics: nothing to compare with
    assert registration.look() == 2
    assert {row.url[-5:]: row.expected_samples for row in queue.shard_rows()} == {"a.tar": 7, "b.tar": None}


def test_a_rewritten_shard_is_a_new_one(queue: LabelQueue, folder: Path) -> None:
    queue.watch(f"{folder}/*.tar")
    registration = ShardRegistration(DataConfig(), queue=queue)
    (folder / "a.tar").write_bytes(TAR)
    write_stats(folder / "a.tar", 1)
    assert registration.look() == 1
    (folder / "a.tar").write_bytes(TAR)
    os.utime(folder / "a.tar", (1, 1))
    assert registration.look() == 1
    assert names(queue) == ["a.tar", "a.tar"]
    assert len({row.shard_id for row in queue.shard_rows()}) == 2


@pytest.mark.parametrize("pattern", ["*.tar", "a.tar"])
def test_a_shard_that_is_being_rewritten_beside_its_old_statistics_is_not_taken_half(
    queue: LabelQueue, folder: Path, pattern: str
) -> None:
    queue.watch(f"{folder}/{pattern}")
    registration = ShardRegistration(DataConfig(), queue=queue)
    shard = folder / "a.tar"
    shard.write_bytes(TAR)
    write_stats(shard, 1)
    assert registration.look() == 1
    later_s = shard.with_name("a_stats.json").stat().st_mtime + 10
    for pieces in (2, 3):
        shard.write_bytes(pieces * TAR)
        os.utime(shard, (later_s + pieces, later_s + pieces))
        assert registration.look() == 0, "its writer is at work, whatever the old statistics say"
    write_stats(shard, 3)
    os.utime(shard.with_name("a_stats.json"), (later_s + 4, later_s + 4))
    assert registration.look() == 1
    assert [row.expected_samples for row in sorted(queue.shard_rows(), key=lambda row: row.order)] == [1, 3]


def test_an_empty_or_broken_pattern_does_not_hide_the_shards_of_another(queue: LabelQueue, folder: Path) -> None:
    (folder / "a.tar").write_bytes(TAR)
    write_stats(folder / "a.tar", 1)
    for pattern in (f"{folder}/none/*.tar", "nosuchprotocol://x/*.tar", f"{folder}/*.tar"):
        queue.watch(pattern)
    assert ShardRegistration(DataConfig(), queue=queue).look() == 1


def test_what_is_watched_no_more_is_not_looked_at(queue: LabelQueue, folder: Path) -> None:
    queue.watch(f"{folder}/*.tar")
    registration = ShardRegistration(DataConfig(), queue=queue)
    queue.unwatch(f"{folder}/*.tar")
    (folder / "a.tar").write_bytes(TAR)
    write_stats(folder / "a.tar", 1)
    assert registration.look() == 0


def test_with_the_default_interval_two_looks_end_within_a_minute(queue: LabelQueue, folder: Path) -> None:
    queue.watch(f"{folder}/*.tar")
    registration = ShardRegistration(DataConfig(), queue=queue)
    registration.look()
    first = registration.next_look_in_s  # a shard may come right after a look
    (folder / "a.tar").write_bytes(TAR)
    registration.look()
    second = registration.next_look_in_s
    assert registration.look() == 1
    assert first + second <= 50, "ten seconds are left for listing, and for the labeler to take it"
    assert registration.next_look_in_s == 30


def test_shards_are_found_while_the_labeler_is_busy(queue: LabelQueue, folder: Path) -> None:
    queue.watch(f"{folder}/*.tar")
    with ShardRegistration(DataConfig(watch_interval_s=0.05), queue=queue) as registration:
        (folder / "a.tar").write_bytes(TAR)
        found = threading.Event()
        for _ in range(600):
            if names(queue) or found.wait(0.05):
                break
        assert names(queue) == ["a.tar"]
        registration.check()


def test_a_look_that_breaks_ends_the_labeler(queue: LabelQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    with ShardRegistration(DataConfig(watch_interval_s=0.01), queue=queue) as registration:

        def broken() -> int:
            raise ZeroDivisionError

        monkeypatch.setattr(registration, "look", broken)

        def check_until_it_raises() -> None:
            for _ in range(1000):
                registration.check()
                threading.Event().wait(0.02)

        with pytest.raises(ZeroDivisionError):
            check_until_it_raises()


def test_a_store_that_never_answers_a_look_is_seen_by_the_watchdog(
    queue: LabelQueue, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answer = threading.Event(), threading.Event()
    watchdog = Watchdog(timeout_s=600)
    queue.watch(f"{folder}/*.tar")
    with ShardRegistration(DataConfig(watch_interval_s=0.01), queue=queue, watchdog=watchdog) as registration:
        watchdog.pause()  # only the looking thread is of interest

        def silent_store(patterns: list[str], *, may_be_missing: bool) -> list[ShardFile]:
            asked.set()
            answer.wait(60)
            return []

        monkeypatch.setattr(shard_registration, "expand_shard_urls", silent_store)
        assert asked.wait(60)
        place, _ = watchdog._longest_silent() or ("", 0.0)
        assert f"looking for shards: {folder}/*.tar" in place
        answer.set()
        registration.check()
