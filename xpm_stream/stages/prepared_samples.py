"""Samples of a shard made ready to be labelled: decoded, captions turned into nouns, or a reason why not."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from xpm_stream.config.data_sections import DataConfig
from xpm_stream.data.images import ImageFetcher, decode_image
from xpm_stream.data.shard_urls import look_at_shard
from xpm_stream.data.tar_reading import ShardDamage, TarSample, read_samples, sample_offsets
from xpm_stream.data.tar_stream import TarDamageError
from xpm_stream.errors import DataError, SampleError, ShardError
from xpm_stream.label_queue import Cursor, RelabelWork, ShardRecord
from xpm_stream.monitoring.metric_tables import LabelerMetrics
from xpm_stream.records import Annotation, ImageInline, ImagePayload
from xpm_stream.text.caption_nouns import CaptionNouns

SkipReason = Literal["no_nouns"]
_REMEMBERED_WORDS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Usable:
    """An image with nouns to look for."""

    pixels: npt.NDArray[np.uint8]  # H x W x 3, RGB, as stored
    words: list[str]
    captions: list[str]
    payload: ImagePayload
    key: str
    nouns_per_caption: list[int]  # zeros included; of a label made again, what the old one says
    previous: Annotation | None = None  # where a label is made again: the old one


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedSample:
    """One sample and what becomes of it: labelled, skipped for a reason, or rejected."""

    ordinal: int
    offset: int  # where it starts in the tar
    next_offset: int  # where the next one starts
    outcome: Usable | SkipReason | SampleError

    @property
    def cursor(self) -> Cursor:
        """Where to go on reading after it."""
        return Cursor(self.ordinal + 1, self.next_offset)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardEnd:
    """The shard ends here: its samples are [0, ordinal)."""

    ordinal: int
    offset: int
    damage: str | None  # why it ended before its time

    @property
    def cursor(self) -> Cursor:
        """Behind the last sample."""
        return Cursor(self.ordinal, self.offset)


Prepared = PreparedSample | ShardEnd


class SamplePreparer:
    """Reads and prepares samples; used by one reader thread at a time."""

    def __init__(self, config: DataConfig, *, metrics: LabelerMetrics) -> None:
        self._config = config
        self._metrics = metrics
        self._nouns = CaptionNouns.load()
        self._fetcher = ImageFetcher(max_bytes=config.max_image_bytes)
        self._seen_words: set[str] = set()

    def prepare(self, shard: ShardRecord, *, cursor: Cursor) -> Generator[Prepared]:
        """Yield the samples of a shard from `cursor` on, then its end.

        Raises:
            ShardError: the shard cannot be opened at all.
        """
        ordinal, offset = cursor.ordinal, cursor.byte_offset
        samples = read_samples(shard.url, config=self._config, start_offset=offset, start_ordinal=ordinal)
        for item in samples:
            if isinstance(item, ShardDamage):
                yield ShardEnd(ordinal=ordinal, offset=offset, damage=f"{item.reason}: {item.detail}")
                return
            self._metrics.samples_read.inc()
            ordinal, offset = item.ordinal + 1, item.next_offset
            yield PreparedSample(
                ordinal=item.ordinal,
                offset=item.offset,
                next_offset=item.next_offset,
                outcome=self._outcome(item, url=shard.url),
            )
        yield ShardEnd(ordinal=ordinal, offset=offset, damage=None)

    def pass_over(self, shard: ShardRecord, *, cursor: Cursor) -> Prepared:
        """Reject the sample at `cursor` without reading it: those who read it died. Its end is found by the headers.

        Raises:
            ShardError: the shard cannot be opened at all.
        """
        offsets = sample_offsets(shard.url, start_offset=cursor.byte_offset)
        try:
            start, stop = next(offsets), next(offsets, None)
        except TarDamageError as damage:
            what = f"{damage.reason}: {damage}"
            return ShardEnd(ordinal=cursor.ordinal, offset=cursor.byte_offset, damage=what)
        if stop is None:
            return ShardEnd(ordinal=cursor.ordinal, offset=start, damage=None)
        killer = SampleError(
            f"each labeler that tried sample {cursor.ordinal} alone died of it", reason="kills_labeler"
        )
        return PreparedSample(ordinal=cursor.ordinal, offset=start, next_offset=stop, outcome=killer)

    def prepare_again(self, work: RelabelWork) -> Usable | SkipReason | SampleError | DataError:
        """Prepare a sample that has to be labelled again: its words and image are in its old label.

        A DataError that is no SampleError says that its store does not give it now, and may later.
        """
        old = work.message
        if old is None:
            return self._from_shard(work)
        try:
            pixels = decode_image(self._fetcher.fetch(old.image), max_pixels=self._config.max_image_pixels)
        except SampleError as error:
            return error
        except DataError as error:
            return error
        return Usable(pixels, old.words, [], old.image, old.key, old.nouns_per_caption, previous=old.annotation)

    def _from_shard(self, work: RelabelWork) -> Usable | SkipReason | SampleError | DataError:
        """Read a sample whose label is lost from its shard again; its place is known by its ordinal only."""
        if work.shard is None:
            return SampleError(f"the shard of sample {work.sample} is unknown", reason="shard_unknown")
        gone = SampleError(f"sample {work.sample} is not in {work.shard.url} any more", reason="sample_gone")
        ordinal = work.sample.ordinal
        try:
            if not look_at_shard(work.shard.url).is_shard(work.shard.shard_id):
                message = f"{work.shard.url} was rewritten: what is at the place of sample {work.sample} is another"
                return SampleError(message, reason="shard_changed")
            # Those before it are not read: one of them may be what killed a labeler.
            offset = next(islice(sample_offsets(work.shard.url), ordinal, None), None)
            if offset is None:
                return gone
            item = next(self.prepare(work.shard, cursor=Cursor(ordinal, offset)))
        except TarDamageError:
            return gone
        except DataError as error:
            return error
        return item.outcome if isinstance(item, PreparedSample) else gone

    def _outcome(self, sample: TarSample, *, url: str) -> Usable | SkipReason | SampleError:
        if sample.problem is not None:
            return sample.problem
        self._metrics.captions_cut.inc(sample.captions_cut)
        words, nouns_per_caption = self._words(sample.captions)
        if not words:
            return "no_nouns"
        try:
            pixels = decode_image(sample.image, max_pixels=self._config.max_image_pixels)
        except SampleError as error:
            return error
        payload = self._payload(sample, url=url)
        return Usable(pixels, words, sample.captions, payload, sample.key, nouns_per_caption)

    def _words(self, captions: list[str]) -> tuple[list[str], list[int]]:
        """Return all nouns once, in order of first mention, and how many each caption has."""
        found: dict[str, None] = {}
        numbers = []
        for caption in captions:
            nouns = self._nouns.find(caption)
            self._metrics.captions.inc()
            self._metrics.words.inc(len(nouns))
            if not nouns:
                self._metrics.captions_without_nouns.inc()
            numbers.append(len(nouns))
            found.update(dict.fromkeys(nouns))
        self._count_new(found)
        return list(found), numbers

    def _count_new(self, words: dict[str, None]) -> None:
        new = [word for word in words if word not in self._seen_words]
        self._metrics.new_words.inc(len(new))
        if len(self._seen_words) < _REMEMBERED_WORDS:
            self._seen_words.update(new)

    def _payload(self, sample: TarSample, *, url: str) -> ImagePayload:
        """By reference where the image is a byte range of its shard; else, or if configured, in the message."""
        if sample.reference is not None and self._config.payload != "inline":
            return sample.reference
        if self._config.payload == "reference":
            raise ShardError(
                f"{url}: images of a compressed or unseekable shard have no byte range to refer to: "
                "set data.payload: auto or inline, or store the shard as a plain tar"
            )
        return ImageInline(data=sample.image)
