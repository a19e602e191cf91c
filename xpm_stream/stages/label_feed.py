"""Labels from the queue to training batches: read, admit, decode, collate. Runs in the trainer's loader thread."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from xpm_stream import crash_points
from xpm_stream.config import RunConfig
from xpm_stream.data.base_set import BaseImage
from xpm_stream.data.images import ImageFetcher, decode_image
from xpm_stream.errors import DataError, MessageError, SampleError
from xpm_stream.label_queue import Delivery, LabelQueue
from xpm_stream.methods.base import Batch, LabelledImage, Method
from xpm_stream.records import ImagePayload, LabelMessage
from xpm_stream.stages.base_feed import BaseFeed
from xpm_stream.stages.patience import waits_s
from xpm_stream.stages.process import Role
from xpm_stream.stages.replay import NOTHING, Replay, Replayed
from xpm_stream.stages.run_end import only_acknowledging_helps
from xpm_stream.stages.sample_claims import SampleClaims
from xpm_stream.stages.suspects import Suspects

_READ_BLOCK_MS: Final = 500
_FEW_AFTER_S: Final = 30.0  # no label came for this long: train the few that wait
_REPLAY_DRAWS: Final = 1  # keeps what is drawn apart from the views of the same item
_DECODERS: Final = 4  # PIL releases the GIL, so threads decode in parallel


@dataclass(frozen=True, slots=True)
class Admitted:
    """A label whose image is here, claimed for training."""

    delivery: Delivery
    message: LabelMessage
    image: LabelledImage


@dataclass(frozen=True, slots=True)
class TrainingItem:
    """One step's worth of labels and base images, collated."""

    admitted: list[Admitted]
    base: list[BaseImage]
    batch: Batch
    feed_state: Mapping[str, Any]  # of the base feed, after this item
    number: int
    replayed: Replayed = NOTHING


@dataclass(frozen=True, slots=True)
class Starved:
    """No label came for a while; the trainer may want to checkpoint, or to end."""

    checkpoint: bool = False  # labels that were hard to get through are trained: make that durable now


class LabelFeed:
    """Endless training items; a Starved whenever the queue has nothing to give."""

    def __init__(
        self,
        role: Role,
        *,
        queue: LabelQueue,
        method: Method,
        base_feed: BaseFeed | None,
        claims: SampleClaims,
        epoch: int,
        rank: int = 0,
        replay: Replay | None = None,
    ) -> None:
        self._role = role
        self._config: RunConfig = role.config
        self._queue = queue
        self._method = method
        self._base_feed = base_feed
        self._claims = claims
        self._epoch = epoch
        self._rank = rank
        self._replay = replay
        self._fetcher = ImageFetcher(max_bytes=self._config.data.max_image_bytes)
        self._number = 0
        self._suspects = Suspects(role, queue=queue)
        self._waits_s = waits_s(self._config.queue)
        self._retries: list[tuple[float, Delivery]] = []  # due (monotonic seconds), what failed
        self._duplicates: deque[Delivery] = deque()  # appended here, taken by the trainer's thread
        self._again: deque[Delivery] = deque()  # duplicates whose first copy was let go; the other way round

    def items(self) -> Iterator[TrainingItem | Starved]:
        """Yield items; a smaller last one when the corpus is finished."""
        wanted = self._config.trainer.batch_captions
        waiting: list[Admitted] = []
        last_came = time.monotonic()
        with ThreadPoolExecutor(_DECODERS, thread_name_prefix="decode") as pool:
            while True:
                room = wanted - len(waiting)
                self._role.watchdog.progress("reading labels")
                deliveries = self._due_retries(room) or self._queue.read(
                    self._role.name, count=room, block_ms=_READ_BLOCK_MS
                )
                if deliveries:
                    crash_points.reach("trainer.after_read")
                ordinary = self._suspects.set_aside(deliveries)
                self._role.watchdog.progress(f"fetching and decoding the images of {len(ordinary)} labels")
                waiting += [item for item in pool.map(self._admit, ordinary) if item is not None]
                if deliveries:
                    last_came = time.monotonic()
                # More than asked for may come: deliveries that an earlier, cut connection had swallowed.
                while len(waiting) >= wanted:
                    yield self.collate(waiting[:wanted], replayed=self._draw(pool))
                    del waiting[:wanted]
                # Older labels come first: without a suspect among these, all suspects there are have come.
                if self._suspects and len(ordinary) == len(deliveries):
                    yield from self._try_suspects(set_apart=len(waiting))
                if waiting and not deliveries and self._train_few(last_came):
                    yield self.collate(waiting, replayed=self._draw(pool))
                    waiting = []
                elif not deliveries:
                    yield Starved()

    def _try_suspects(self, *, set_apart: int) -> Iterator[TrainingItem | Starved]:
        """Train suspects one at a time, with nothing else of this rank in training; `set_apart` labels only wait."""
        while self._suspects:
            yield from self._until_trained(set_apart)
            delivery = self._suspects.take()
            if delivery is None:
                return  # another rank tries one: go on with ordinary labels meanwhile
            yield from self._try_one(delivery, set_apart)
            if self._suspects.want_checkpoint():
                yield Starved(checkpoint=True)

    def _try_one(self, delivery: Delivery, set_apart: int) -> Iterator[TrainingItem | Starved]:
        self._role.watchdog.progress(f"decoding the image of suspect {delivery.sample}")
        admitted = self._admit(delivery)
        if admitted is not None:
            try:
                yield self.collate([admitted])  # without replay: nothing else may be what kills
                yield from self._until_trained(set_apart)
            except GeneratorExit:
                # Told to stop: nobody died of it. After an error nothing is said, so that the trial counts.
                if self._role.stop.is_set():
                    self._suspects.survived(delivery, trained=self._claims.in_flight() <= set_apart)
                raise
        self._suspects.survived(delivery, trained=admitted is not None)

    def _until_trained(self, set_apart: int) -> Iterator[Starved]:
        # The reader takes each Starved after the item before it: no need to wait here.
        while self._claims.in_flight() > set_apart:
            yield Starved()

    def hold(self, delivery: Delivery) -> None:
        """Keep a second label of a sample until it is known what became of the first."""
        self._duplicates.append(delivery)

    def take_duplicates(self) -> list[Delivery]:
        """Return second labels of samples that are trained; they are acknowledged with the next checkpoint."""
        # Taken by the trainer's thread with each item: where it hangs next is in training.
        self._role.watchdog.progress("training")
        trained: list[Delivery] = []
        for _ in range(len(self._duplicates)):
            delivery = self._duplicates.popleft()
            assert delivery.sample is not None, "a message without a sample is never claimed"
            fate = self._claims.fate(delivery.sample)
            # Until its first copy is trained this one may be all that is left: that copy can turn out stale, and be
            # gone from a Redis that was restored from an older copy.
            {"trained": trained, "in flight": self._duplicates, "free": self._again}[fate].append(delivery)
        return trained

    def _draw(self, pool: Executor) -> Replayed:
        if self._replay is None:
            return NOTHING
        place = [self._config.seed, self._epoch, self._number, self._rank, _REPLAY_DRAWS]
        return self._replay.take(rng=np.random.default_rng(place), pool=pool)

    def collate(self, admitted: Sequence[Admitted], *, replayed: Replayed = NOTHING) -> TrainingItem:
        """Make one training item of admitted labels, the next base images, and trained samples that come back."""
        base = self._base_feed.take(self._config.trainer.batch_base) if self._base_feed else []
        return self.recollate(admitted, base=base, replayed=replayed)

    def recollate(
        self, admitted: Sequence[Admitted], *, base: list[BaseImage], replayed: Replayed = NOTHING
    ) -> TrainingItem:
        """Make a training item of given parts (some labels of an earlier item turned out stale)."""
        rng = np.random.default_rng([self._config.seed, self._epoch, self._number, self._rank])
        batch = self._method.collate([*(item.image for item in admitted), *replayed.images], base, rng=rng)
        state = self._base_feed.state() if self._base_feed else {}
        self._number += 1
        return TrainingItem(list(admitted), base, batch, state, self._number, replayed)

    def _admit(self, delivery: Delivery) -> Admitted | None:
        message = delivery.message
        if isinstance(message, MessageError):
            self._bury(delivery, reason="message_invalid", detail=str(message))
            return None
        if not self._claims.claim(message.sample):
            # Its first copy may not be in a durable checkpoint yet, so this one is kept until the next is.
            self.hold(delivery)
            self._role.metrics.trainer.duplicates_skipped.inc()
            return None
        try:
            pixels, *partners = map(self._decode, (message.image, *message.annotation.partner_images()))
        except SampleError as error:
            self._give_up(delivery, message, reason=error.reason, detail=str(error))
            return None
        except DataError as error:
            self._try_later(delivery, message, error)
            return None
        image = LabelledImage(
            sample=message.sample,
            pixels=pixels,
            words=message.words,
            annotation=message.annotation,
            partners=partners,
        )
        return Admitted(delivery, message, image)

    def _decode(self, payload: ImagePayload) -> npt.NDArray[np.uint8]:
        return decode_image(self._fetcher.fetch(payload), max_pixels=self._config.data.max_image_pixels)

    def _try_later(self, delivery: Delivery, message: LabelMessage, error: DataError) -> None:
        """The image's store did not give it: that may pass, so the label is tried again, but not for ever."""
        self._role.metrics.count_error(error)
        self._claims.release([message.sample])
        again = self._queue.fail(delivery, reason="image_unavailable", detail=str(error))
        if again is None:
            self._role.metrics.trainer.dead_letters.labels("image_unavailable").inc()
            self._role.log.warning("dead letter", entry=delivery.entry_id, reason="image_unavailable")
        else:
            wait_s = self._waits_s[min(again.attempts, len(self._waits_s)) - 1]
            self._retries.append((time.monotonic() + wait_s, again))

    def _give_up(self, delivery: Delivery, message: LabelMessage, *, reason: str, detail: str) -> None:
        self._claims.release([message.sample])
        self._bury(delivery, reason=reason, detail=detail)

    def _bury(self, delivery: Delivery, *, reason: str, detail: str) -> None:
        self._queue.dead_letter(delivery, reason=reason, detail=detail)
        self._role.metrics.trainer.dead_letters.labels(reason).inc()
        self._role.log.warning("dead letter", entry=delivery.entry_id, reason=reason, detail=detail)

    def _due_retries(self, most: int) -> list[Delivery]:
        if self._again:
            return [self._again.popleft() for _ in range(min(most, len(self._again)))]
        now = time.monotonic()
        due = [item for item in self._retries if item[0] <= now][:most]
        self._retries = [item for item in self._retries if item not in due]
        return [delivery for _, delivery in due]

    def _train_few(self, last_came: float) -> bool:
        """Whether a small batch is right: nothing follows, or the labels it holds may be all the budget allows."""
        if time.monotonic() - last_came > _FEW_AFTER_S:
            return True
        if self._retries or self._suspects:
            return False
        stats = self._queue.stats()
        if stats.unacked_labels > stats.delivered_labels or stats.relabels:
            return False
        if not (stats.shards_pending or stats.shards_leased):
            return True
        # The budget is spent, and on labels that wait here alone: no checkpoint would free any of it.
        all_wait_here = stats.unacked_labels <= self._claims.in_flight()
        return all_wait_here and only_acknowledging_helps(self._config.queue, stats)
