"""The labels that wait on the queue, with the images and captions of their samples; nothing is taken. No torch."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from itertools import islice
from typing import Final

from xpm_stream.config import RunConfig
from xpm_stream.config.data_sections import DataConfig
from xpm_stream.data.shard_urls import look_at_shard
from xpm_stream.data.tar_reading import ShardDamage, TarSample, read_samples, sample_offsets
from xpm_stream.data.tar_stream import TarDamageError
from xpm_stream.errors import DataError, MessageError, SampleError, ShardUnavailable
from xpm_stream.label_queue import LabelQueue
from xpm_stream.label_queue.watching_labels import LabelWatcher, StreamPlace
from xpm_stream.records import ImageInline, LabelMessage, SampleId
from xpm_stream.registry.promotion_log import PromotionLog
from xpm_stream.stages.exported_labels import ExportTally, LabelledSample
from xpm_stream.stages.operating import open_queue_of
from xpm_stream.stages.run_folder import RunFolder

_PAGE_BYTES: Final = 2 << 20  # of messages in memory, which may carry their images
_OPEN_SHARDS: Final = 32  # as many labelers' labels come interleaved


def waiting_labels(
    config: RunConfig,
    *,
    need_captions: bool,
    tally: ExportTally,
    on_label: Callable[[int, int], None],
) -> Generator[LabelledSample]:
    """Yield the labels that were on the queue at the start, oldest first, as they are; count those lost by reason.

    Args:
        config: of the run.
        need_captions: leave out samples whose shard does not give their captions any more, even where the label
            carries the image.
        tally: where the counts go.
        on_label: called with how many labels are done, and how many there are.

    Raises:
        QueueError: Redis cannot be reached, or refuses.
    """
    log = PromotionLog(RunFolder.of(config).registry_url(config))
    checkpoints = {entry.number: entry.checkpoint for entry in log.entries()}
    with open_queue_of(config) as queue:
        total = queue.stats().unacked_labels
        samples = _ShardSamples(queue, config.data)
        opener = _Opener(samples, checkpoints=checkpoints, revoked=log.revoked(), need_captions=need_captions)
        seen = 0
        try:
            for message in _messages(queue):
                try:
                    if isinstance(message, MessageError):
                        tally.left_out["label_unreadable"] += 1
                    else:
                        yield opener.open(message)
                except SampleError as error:
                    tally.left_out[error.reason] += 1
                seen += 1
                on_label(seen, max(total, seen))
        finally:
            tally.shards = samples.num_shards
            samples.close()
        if seen < total:
            tally.left_out["gone_meanwhile"] += total - seen  # a trainer acknowledged them


def _messages(queue: LabelQueue) -> Iterator[LabelMessage | MessageError]:
    watcher = LabelWatcher(queue, StreamPlace())
    started_s: float | None = None
    while True:
        page = watcher.read(max_bytes=_PAGE_BYTES)
        started_s = page.now_s if started_s is None else started_s
        for label in page.labels:
            if label.committed_at_s > started_s:
                return
            yield label.message
        if page.ends or not page.labels:
            return


class _Opener:
    """Brings a label together with its image and captions."""

    def __init__(
        self,
        samples: _ShardSamples,
        *,
        checkpoints: Mapping[int, str],
        revoked: Collection[int],
        need_captions: bool,
    ) -> None:
        self._samples = samples
        self._checkpoints = checkpoints
        self._revoked = revoked
        self._need_captions = need_captions
        self._opened: set[SampleId] = set()  # no more than may wait at a time: `queue.max_unacked_labels`

    def open(self, message: LabelMessage) -> LabelledSample:
        """Raises SampleError: there is no image, or not the one that was labelled, or it comes a second time."""
        if message.sample in self._opened:
            raise SampleError(f"sample {message.sample} waits twice", reason="waits_twice")
        self._opened.add(message.sample)
        try:
            found = self._samples.find(message.sample)
        except SampleError:
            if self._need_captions or not isinstance(message.image, ImageInline):
                raise
            return self._joined(message, image=message.image.data, captions=[])
        if isinstance(message.image, ImageInline):
            return self._joined(message, image=message.image.data, captions=found.captions)
        if message.image.crc32 not in (None, zlib.crc32(found.image)):
            raise SampleError(f"the image of sample {message.sample} is another now", reason="image_changed")
        return self._joined(message, image=found.image, captions=found.captions)

    def _joined(self, message: LabelMessage, *, image: bytes, captions: list[str]) -> LabelledSample:
        return LabelledSample(
            message=message,
            image=image,
            captions=captions,
            shard_url=self._samples.url_of(message.sample) or "",
            checkpoint=self._checkpoints.get(message.teacher.promotion),
            revoked=message.teacher.promotion in self._revoked,
        )


class _Rewritten(DataError):
    """A shard is not the one that was labelled."""


class _ShardSamples:
    """Finds samples in their shards again. Labels of a shard wait in its order, so reading goes on where it is."""

    def __init__(self, queue: LabelQueue, config: DataConfig) -> None:
        self._queue = queue
        self._config = config
        self._urls: dict[str, str | None] = {}
        self._lost: dict[str, tuple[str, str]] = {}  # shards that are not looked for again: why, and its reason
        self._open: OrderedDict[str, Generator[TarSample | ShardDamage]] = OrderedDict()
        self._next: dict[str, int] = {}  # ordinal that an open shard gives next

    @property
    def num_shards(self) -> int:
        """How many shards the samples were in."""
        return len(self._urls)

    def url_of(self, sample: SampleId) -> str | None:
        """Return the URL of a sample's shard; none: Redis does not know it."""
        key = _shard_key(sample)
        if key not in self._urls:
            row = self._queue.shard_row(key)
            self._urls[key] = row.url if row else None
        return self._urls[key]

    def find(self, sample: SampleId) -> TarSample:
        """Return a sample of its shard.

        Raises:
            SampleError: it is not there any more, or cannot be used.
        """
        key = _shard_key(sample)
        if key not in self._lost:
            try:
                found = self._read(sample)
            except SampleError:
                raise
            except _Rewritten as error:
                self._lose(key, str(error), reason="shard_changed")
            except ShardUnavailable as error:
                self._lose(key, str(error), reason="shard_unavailable")
            except DataError as error:
                self._lose(key, str(error), reason="shard_gone")
            else:
                if found.problem is not None:
                    raise found.problem
                return found
        message, reason = self._lost[key]
        raise SampleError(message, reason=reason)

    def close(self) -> None:
        """Close all shards."""
        for key in list(self._open):
            self._drop(key)

    def _read(self, sample: SampleId) -> TarSample:
        key = _shard_key(sample)
        if key not in self._open or self._next[key] > sample.ordinal:
            self._drop(key)
            self._begin(sample)
        self._open.move_to_end(key)
        for item in self._open[key]:
            if isinstance(item, ShardDamage):
                break
            self._next[key] = item.ordinal + 1
            if item.ordinal == sample.ordinal:
                return item
        self._drop(key)
        raise SampleError(f"sample {sample} is not in its shard any more", reason="sample_gone")

    def _begin(self, sample: SampleId) -> None:
        key, url = _shard_key(sample), self.url_of(sample)
        if url is None:
            raise SampleError(f"the shard of sample {sample} is unknown", reason="shard_unknown")
        if not look_at_shard(url).is_shard(sample.shard_id):
            raise _Rewritten(f"{url} was rewritten after it was labelled")
        try:
            offset = next(islice(sample_offsets(url), sample.ordinal, None), None)
        except TarDamageError:
            offset = None
        if offset is None:
            raise SampleError(f"sample {sample} is not in {url} any more", reason="sample_gone")
        while len(self._open) >= _OPEN_SHARDS:
            self._drop(next(iter(self._open)))
        self._open[key] = _generator(
            read_samples(url, config=self._config, start_offset=offset, start_ordinal=sample.ordinal)
        )
        self._next[key] = sample.ordinal

    def _lose(self, key: str, message: str, *, reason: str) -> None:
        self._drop(key)
        self._lost[key] = (message, reason)

    def _drop(self, key: str) -> None:
        if key in self._open:
            self._open.pop(key).close()
            del self._next[key]


def _generator(items: Iterator[TarSample | ShardDamage]) -> Generator[TarSample | ShardDamage]:
    """Iterators of generators can be closed, and with them the shard."""
    yield from items


def _shard_key(sample: SampleId) -> str:
    return f"{sample.pass_index}:{sample.shard_id}"
