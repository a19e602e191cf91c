from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import fsspec
import pytest
from caption_tars import pair, tar_bytes
from fsspec.implementations.local import LocalFileSystem

from xpm_stream.data.shard_urls import (
    absolute_pattern,
    count_in_stats,
    expand_shard_urls,
    is_complete,
    look_at_shard,
)
from xpm_stream.data.shard_writing import CaptionSample, write_caption_shards
from xpm_stream.errors import ShardError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four shards of one sample, the first with statistics, and files beside them."""
    for index in range(4):
        (tmp_path / f"{index:03d}.tar").write_bytes(tar_bytes(pair(str(index))))
    (tmp_path / "000_stats.json").write_text('{"count": 2, "successes": 1}')
    (tmp_path / "000.parquet").write_bytes(b"img2dataset's table")
    return tmp_path


def names(patterns: list[str]) -> list[str]:
    return [shard.url.rsplit("/", 1)[1] for shard in expand_shard_urls(patterns)]


def test_brace_ranges_globs_and_folders_find_the_same_shards(folder: Path) -> None:
    braces = expand_shard_urls([f"{folder}/{{000..003}}.tar"])
    assert [shard.url for shard in braces] == [f"file://{folder}/{index:03d}.tar" for index in range(4)]
    assert braces == expand_shard_urls([f"{folder}/*.tar"])
    assert braces == expand_shard_urls([f"{folder}/*"])
    assert braces == expand_shard_urls([str(folder)])
    assert braces == expand_shard_urls([f"file://{folder}/00[0-3].tar"])


def test_relative_paths_become_absolute_urls(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert expand_shard_urls(["{000..003}.tar"]) == expand_shard_urls([str(folder)])


def test_patterns_keep_their_order_and_a_shard_named_twice_is_there_once(folder: Path) -> None:
    assert names([f"{folder}/003.tar", f"{folder}/00{{1,0}}.tar", f"{folder}/*.tar"]) == [
        "003.tar", "001.tar", "000.tar", "002.tar",
    ]  # fmt: skip


def test_shards_of_the_in_memory_store_are_found() -> None:
    urls = write_caption_shards(
        [CaptionSample(key=str(i), image=b"x", image_extension="jpg", captions=["a cat"]) for i in range(3)],
        "memory://found",
        samples_per_shard=2,
        overwrite=True,
    )
    shards = expand_shard_urls(["memory://found/*.tar"])
    assert [shard.url for shard in shards] == urls
    assert shards == expand_shard_urls(["memory://found/{000000..000001}.tar"])
    assert [count_in_stats(shard) for shard in shards] == [2, 1]


def test_a_missing_shard_is_named(folder: Path) -> None:
    with pytest.raises(ShardError, match=r"004\.tar does not exist"):
        expand_shard_urls([f"{folder}/{{000..004}}.tar"])


@pytest.mark.parametrize("pattern", ["x*.tar", "*.zip", "*.parquet"])
def test_a_glob_without_a_shard_is_an_error(folder: Path, pattern: str) -> None:
    with pytest.raises(ShardError, match="no shard matches"):
        expand_shard_urls([f"{folder}/{pattern}"])


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="no shard matches"):
        expand_shard_urls([str(tmp_path)])


def test_a_file_that_is_no_tar_is_refused_by_name(folder: Path) -> None:
    with pytest.raises(ShardError, match=r"000\.parquet is not named like a tar"):
        expand_shard_urls([f"{folder}/000.parquet"])


@pytest.mark.parametrize("pattern", ["pipe:cat {000..003}.tar", "| cat *.tar", "pipe:aws s3 cp s3://b/*.tar -"])
def test_shell_urls_are_refused_before_anything_runs(pattern: str) -> None:
    with pytest.raises(ShardError, match="would run a command"):
        expand_shard_urls([pattern])


def test_unknown_protocols_and_broken_braces_are_named() -> None:
    with pytest.raises(ShardError, match="nosuch://"):
        expand_shard_urls(["nosuch://bucket/a.tar"])
    with pytest.raises(ShardError, match="shard pattern"):
        expand_shard_urls(["/data/{000..003.tar"])


def test_chained_urls_can_be_named_but_not_listed(folder: Path) -> None:
    [shard] = expand_shard_urls([f"simplecache::file://{folder}/000.tar"])
    assert shard.url == f"simplecache::file://{folder}/000.tar"
    with pytest.raises(ShardError, match="chained"):
        expand_shard_urls([f"simplecache::file://{folder}/*.tar"])


def test_a_rewritten_shard_is_another_shard_even_at_the_same_size(folder: Path) -> None:
    path = folder / "001.tar"
    before = look_at_shard(str(path))
    assert look_at_shard(f"file://{path}").shard_id == before.shard_id
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1_000_000_000))
    assert look_at_shard(str(path)).shard_id != before.shard_id


def test_shard_ids_differ_between_shards_and_are_stable(folder: Path) -> None:
    shards = expand_shard_urls([str(folder)])
    assert len({shard.shard_id for shard in shards}) == 4
    assert all(len(shard.shard_id) == 16 for shard in shards)


def test_a_shard_is_complete_with_statistics_or_when_it_stopped_growing(folder: Path) -> None:
    first, second, *_ = expand_shard_urls([str(folder)])
    assert is_complete(first, earlier=None)
    assert not is_complete(second, earlier=None)
    assert is_complete(look_at_shard(second.url), earlier=second)
    with (folder / "001.tar").open("ab") as file:
        file.write(bytes(512))
    grown = look_at_shard(second.url)
    assert not is_complete(grown, earlier=second)


def test_a_shard_added_later_is_found_by_the_next_look(http_folder: tuple[Path, str]) -> None:
    folder, url = http_folder
    (folder / "0.tar").write_bytes(b"x")
    assert names([f"{url}/*.tar"]) == ["0.tar"]
    (folder / "1.tar").write_bytes(b"x")
    (folder / "1_stats.json").write_text('{"successes": 5}')
    assert names([f"{url}/*.tar"]) == ["0.tar", "1.tar"]
    assert [count_in_stats(shard) for shard in expand_shard_urls([f"{url}/*.tar"])] == [None, 5]


class RememberingFileSystem(LocalFileSystem):
    """Files of this machine behind fsspec's listing cache, which the drivers of object stores use."""

    protocol = "remembering"

    def ls(self, path: str, detail: bool = False, **kwargs: object) -> list[Any]:
        """List a folder, once."""
        if path not in self.dircache:
            self.dircache[path] = super().ls(path, detail=True, **kwargs)
        infos = self.dircache[path]
        return infos if detail else [info["name"] for info in infos]

    def invalidate_cache(self, path: str | None = None) -> None:
        """Forget every listing."""
        self.dircache.clear()


def test_remembered_listings_do_not_hide_new_shards(tmp_path: Path) -> None:
    fsspec.register_implementation("remembering", RememberingFileSystem, clobber=True)
    for number in range(3):
        (tmp_path / f"{number}.tar").write_bytes(b"x")
        assert len(names([f"remembering://{tmp_path}/*.tar"])) == number + 1


def test_statistics_of_another_kind_are_named(folder: Path) -> None:
    (folder / "000_stats.json").write_text("[]")
    with pytest.raises(ShardError, match=r"000_stats\.json is not img2dataset's statistics"):
        count_in_stats(look_at_shard(str(folder / "000.tar")))
    assert count_in_stats(look_at_shard(str(folder / "001.tar"))) is None


def test_what_may_yet_come_is_no_error_but_a_mistake_still_is(folder: Path) -> None:
    for pattern in (f"{folder}/none.tar", f"{folder}/none/*.tar", f"{folder}/none", f"{folder}/*.tgz"):
        assert expand_shard_urls([pattern], may_be_missing=True) == []
    with pytest.raises(ShardError, match="would run a command"):
        expand_shard_urls(["pipe:cat x"], may_be_missing=True)


def test_patterns_are_made_to_mean_the_same_in_every_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert absolute_pattern("new/{00..09}-*.tar") == f"{folder}/new/{{00..09}}-*.tar"
    for unchanged in ("/data/*.tar", "s3://bucket/*.tar", "simplecache::s3://bucket/a.tar"):
        assert absolute_pattern(unchanged) == unchanged
