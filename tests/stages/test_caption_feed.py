"""Caption images straight from shards: order, resuming, ranks, and what cannot be used."""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xpm_stream.config.data_sections import DataConfig
from xpm_stream.errors import ConfigError, DataError, XpmStreamError
from xpm_stream.methods.base import CaptionImage
from xpm_stream.monitoring.metrics import Metrics
from xpm_stream.stages.caption_feed import CaptionFeed

MakeFeed = Callable[..., CaptionFeed]


def _shard(path: Path, captions: list[str | None], *, first: int = 0) -> str:
    """A shard with a sample for each caption; without one, its picture is broken."""
    with tarfile.open(path, "w") as tar:
        for number, caption in enumerate(captions, start=first):
            picture = io.BytesIO()
            Image.fromarray(np.full((40, 40, 3), number, dtype=np.uint8)).save(picture, "PNG")
            data = picture.getvalue() if caption is not None else b"no picture"
            for name, content in ((f"{number:04d}.png", data), (f"{number:04d}.txt", (caption or "a dog").encode())):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return str(path)


@pytest.fixture
def problems() -> list[str]:
    return []


@pytest.fixture
def make_feed(tmp_path: Path, problems: list[str]) -> MakeFeed:
    def report(error: XpmStreamError, url: str) -> None:
        assert url.endswith(".tar")
        problems.append(str(error))

    def make(shards: list[str], **options: int) -> CaptionFeed:
        seed = options.pop("seed", 0)
        return CaptionFeed(
            DataConfig(shards=shards), seed=seed, metrics=Metrics("labeler").labeler, on_problem=report, **options
        )

    return make


@pytest.fixture
def three_shards(tmp_path: Path) -> list[str]:
    captions = ["a dog and a cup", "nothing here at all", "a car", None, "a kite"]
    return [_shard(tmp_path / f"{index}.tar", captions, first=10 * index) for index in range(3)]


def _numbers(images: list[CaptionImage]) -> list[int]:
    return [int(image.pixels[0, 0, 0]) for image in images]


def test_each_pass_gives_every_usable_image_once_in_another_order_of_shards(
    make_feed: MakeFeed, three_shards: list[str], problems: list[str]
) -> None:
    feed = make_feed(three_shards)
    passes = [_numbers(feed.take(9)) for _ in range(6)]
    usable = sorted(10 * shard + place for shard in range(3) for place in (0, 2, 4))
    assert all(sorted(one) == usable for one in passes)
    assert len({tuple(one) for one in passes}) > 1
    assert len(problems) == 3 * 6  # the broken pictures; captions without nouns are no problem
    assert feed.take(1)[0].words


def test_a_feed_goes_on_where_its_state_was_taken(make_feed: MakeFeed, three_shards: list[str]) -> None:
    whole = _numbers(make_feed(three_shards).take(40))
    for first in (0, 1, 4, 8, 9, 10, 23):
        feed, other = make_feed(three_shards), make_feed(three_shards)
        feed.take(first)
        other.load_state(feed.state())
        assert _numbers(other.take(40 - first)) == whole[first:], first


@pytest.mark.parametrize("size", [2, 3, 4])
def test_ranks_share_a_pass_among_them(make_feed: MakeFeed, three_shards: list[str], size: int) -> None:
    seen: Counter[int] = Counter()
    for rank in range(size):
        feed = make_feed(three_shards, rank=rank, num_ranks=size)
        place = feed.state()["place"]["passes"]
        while place == 0:  # each to the end of its first pass
            number = _numbers(feed.take(1))[0]
            place = feed.state()["place"]["passes"]
            seen[number] += place == 0
    assert set(seen.values()) == {1}
    assert len(seen) == 9


def test_shards_that_give_nothing_end_with_an_error_not_in_an_endless_search(
    make_feed: MakeFeed, tmp_path: Path, problems: list[str]
) -> None:
    feed = make_feed([_shard(tmp_path / "a.tar", [None, "nothing here at all"])])
    with pytest.raises(DataError, match="none of the 1 shards"):
        feed.take(1)
    assert len(problems) == 1


def test_a_shard_that_ends_too_early_gives_what_is_whole(
    make_feed: MakeFeed, three_shards: list[str], problems: list[str]
) -> None:
    torn = Path(three_shards[1])
    torn.write_bytes(torn.read_bytes()[: 2 * 512 + 100])
    assert len(set(_numbers(make_feed(three_shards).take(7)))) == 6  # one of them again, in the second pass
    assert any("1.tar" in problem for problem in problems)


def test_without_shards_or_with_others_than_before_the_way_out_is_said(
    make_feed: MakeFeed, three_shards: list[str]
) -> None:
    with pytest.raises(ConfigError, match=r"data\.shards"):
        make_feed([])
    state = make_feed(three_shards).state()
    with pytest.raises(ConfigError, match="names 2 shards now, but named 3"):
        make_feed(three_shards[:2]).load_state(state)
