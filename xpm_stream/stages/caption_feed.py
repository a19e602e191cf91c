"""Caption images straight from the shards, without a queue: endless, in a seeded order of shards, resumable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec
import numpy as np

from xpm_stream.config.data_sections import DataConfig
from xpm_stream.data.shard_urls import expand_shard_urls
from xpm_stream.errors import ConfigError, DataError, SampleError, ShardError, XpmStreamError
from xpm_stream.label_queue import Cursor, ShardRecord
from xpm_stream.methods.base import CaptionImage
from xpm_stream.monitoring.metric_tables import LabelerMetrics
from xpm_stream.records import SampleId
from xpm_stream.stages.prepared_samples import SamplePreparer, ShardEnd, Usable

_KIND: Final = "caption_feed"


class _Place(msgspec.Struct, frozen=True):
    """Where a feed goes on: a pass, a shard's place in its order, and a cursor in that shard."""

    passes: int = 0
    position: int = 0
    ordinal: int = 0
    byte_offset: int = 0


class CaptionFeed:
    """Takes usable caption images, shard after shard; a shard's samples come in its own order.

    Several ranks take turns: whole shards where there are enough of them, else single samples.
    """

    def __init__(
        self,
        data: DataConfig,
        *,
        seed: int,
        metrics: LabelerMetrics,
        on_problem: Callable[[XpmStreamError, str], None],
        rank: int = 0,
        num_ranks: int = 1,
    ) -> None:
        """Find the shards.

        Args:
            data: shards, and limits on their samples.
            seed: of the order of the shards in each pass.
            metrics: where samples read, captions and words are counted.
            on_problem: told of every sample and shard that cannot be used, with the shard's URL.
            rank: this rank's number.
            num_ranks: how many take turns.

        Raises:
            ConfigError: no shards are named.
            ShardError: a named shard is missing.
        """
        if not data.shards:
            raise ConfigError("learning from captions needs caption shards: name them in data.shards")
        files = expand_shard_urls(data.shards)
        if not files:
            raise ConfigError(f"data.shards names no shard: {', '.join(data.shards)}")
        self._shards = [ShardRecord(url=file.url, shard_id=file.shard_id, size_bytes=file.size_bytes) for file in files]
        self._preparer = SamplePreparer(data, metrics=metrics)
        self._seed = seed
        self._on_problem = on_problem
        self._rank, self._num_ranks = rank, num_ranks
        self._place = _Place()
        self._samples: Iterator[tuple[CaptionImage, _Place]] | None = None

    def take(self, count: int) -> list[CaptionImage]:
        """Return this rank's next `count` images, decoded, each with a noun at least.

        Raises:
            DataError: a whole pass over the shards gave none.
        """
        if self._samples is None:
            self._samples = self._endless(self._place)
        taken = []
        for _ in range(count):
            image, self._place = next(self._samples)
            taken.append(image)
        return taken

    def state(self) -> dict[str, Any]:
        """Return the place in the order, JSON-able."""
        return {"kind": _KIND, "num_shards": len(self._shards), "place": msgspec.to_builtins(self._place)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a place returned by `state()`.

        Raises:
            ConfigError: there are more or fewer shards than then, so that the order is another.
        """
        if state["num_shards"] != len(self._shards):
            raise ConfigError(
                f"data.shards names {len(self._shards)} shards now, but named {state['num_shards']} when the "
                "checkpoint was written: resume with the same shards, or begin in another folder"
            )
        self._place = msgspec.convert(state["place"], _Place)
        self._samples = None

    def _endless(self, place: _Place) -> Iterator[tuple[CaptionImage, _Place]]:
        while True:
            fresh = place.position == place.ordinal == 0
            found = 0
            for item in self._one_pass(place):
                found += 1
                yield item
            if fresh and not found:
                raise DataError(
                    f"none of the {len(self._shards)} shards of data.shards gave rank {self._rank} an image whose "
                    "captions have an object noun: see the log for what was wrong with each"
                )
            place = _Place(passes=place.passes + 1)

    def _one_pass(self, place: _Place) -> Iterator[tuple[CaptionImage, _Place]]:
        order = np.random.default_rng([self._seed, place.passes]).permutation(len(self._shards))
        whole_shards = len(order) >= self._num_ranks
        if whole_shards:
            order = order[self._rank :: self._num_ranks]
        for position in range(place.position, len(order)):
            shard = self._shards[order[position]]
            begun = position == place.position
            cursor = Cursor(place.ordinal, place.byte_offset) if begun else Cursor()
            try:
                for image, after in self._of_shard(shard, cursor):
                    if whole_shards or (position + image.sample.ordinal) % self._num_ranks == self._rank:
                        yield image, _Place(place.passes, position, after.ordinal, after.byte_offset)
            except ShardError as error:
                self._on_problem(error, shard.url)

    def _of_shard(self, shard: ShardRecord, cursor: Cursor) -> Iterator[tuple[CaptionImage, Cursor]]:
        for item in self._preparer.prepare(shard, cursor=cursor):
            if isinstance(item, ShardEnd):
                if item.damage is not None:
                    self._on_problem(ShardError(f"{shard.url}: {item.damage}"), shard.url)
            elif isinstance(item.outcome, SampleError):
                self._on_problem(item.outcome, shard.url)
            elif isinstance(item.outcome, Usable):
                sample = SampleId(0, shard.shard_id, item.ordinal)  # the same image in the next pass has the same name
                outcome = item.outcome
                image = CaptionImage(
                    sample=sample, pixels=outcome.pixels, words=outcome.words, captions=outcome.captions
                )
                yield image, item.cursor
