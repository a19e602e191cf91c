"""Replay: trained samples come back beside new ones, labelled anew by the newest teacher.

The loader thread draws, fetches and labels, beside training; the trainer's thread adds what was trained.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from xpm_stream.annotation_wire import check_annotation
from xpm_stream.config import RunConfig
from xpm_stream.data.images import ImageFetcher, decode_image
from xpm_stream.errors import DataError, ImageGone, MessageError, RegistryError, SampleError
from xpm_stream.learning.reservoir import Reservoir
from xpm_stream.learning.reservoir_state import ReplaySample, ReservoirLimits
from xpm_stream.methods.base import CaptionImage, LabelledImage
from xpm_stream.records import Annotation, ImagePayload, LabelMessage, TeacherVersion
from xpm_stream.stages.devices import choose_device
from xpm_stream.stages.labelling_teacher import LabellingTeacher
from xpm_stream.stages.network_files import checkpoint_base_classes
from xpm_stream.stages.process import Role
from xpm_stream.stages.ranks import Ranks
from xpm_stream.stages.replay_file import REPLAY, gather_reservoirs, restore_reservoir
from xpm_stream.stages.staleness import Staleness

Pixels = npt.NDArray[np.uint8]  # H x W x 3, RGB, as stored


@dataclass(frozen=True, slots=True)
class Replayed:
    """Trained samples that accompany the new ones of a step."""

    images: list[LabelledImage] = field(default_factory=list)
    teacher: TeacherVersion | None = None  # whose labels they have; none: there are no images


NOTHING: Final = Replayed()


def begin_replay(role: Role, *, files: Mapping[str, bytes], name: str, resumed: bool, ranks: Ranks) -> Replay | None:
    """Begin with what checkpoint `name` holds, its `files`; none if replay is off.

    Raises:
        CheckpointError: the checkpoint's reservoir cannot be read.
        RegistryError: no teacher is promoted that could label.
    """
    if not role.config.trainer.replay_images:
        if REPLAY in files:
            role.log.warning("trainer.replay_images is 0: the checkpoint's reservoir is dropped", checkpoint=name)
        return None
    limits, seed = reservoir_limits(role.config), (role.config.seed, ranks.number)
    restored = restore_reservoir(files, name=name, limits=limits, seed=seed, ranks=ranks)
    if restored is None and resumed:
        role.log.warning("the checkpoint has no samples to replay: the reservoir starts empty", checkpoint=name)
    reservoir = Reservoir(limits, seed=seed) if restored is None else restored
    role.log.info("replay", samples=len(reservoir), words=reservoir.num_words)
    device = choose_device(role.config.trainer.device, threads=role.config.trainer.threads)
    teacher = LabellingTeacher(role, base_classes=checkpoint_base_classes(files, name=name), device=device)
    return Replay(role, reservoir=reservoir, teacher=teacher, ranks=ranks)


def reservoir_limits(config: RunConfig) -> ReservoirLimits:
    """Return the bounds that a configuration sets to each rank's reservoir."""
    trainer = config.trainer
    return ReservoirLimits(
        per_word=trainer.replay_per_word,
        capacity=trainer.replay_capacity,
        inline_bytes=trainer.replay_inline_mb * 2**20,
    )


def label_again(
    found: Sequence[tuple[ReplaySample, Pixels]],
    *,
    label: Callable[[Sequence[CaptionImage]], list[Annotation]],
    batch_images: int,
) -> list[LabelledImage]:
    """Label trained samples anew, as labelers label what was sent back, `batch_images` together.

    Partner images are not yet there.
    """
    images = [
        CaptionImage(
            sample=kept.sample,
            pixels=pixels,
            words=kept.words,
            captions=[],
            payload=kept.image,
            previous=kept.previous,
        )
        for kept, pixels in found
    ]
    annotations: list[Annotation] = []
    for start in range(0, len(images), batch_images):
        annotations += label(images[start : start + batch_images])
    return [
        LabelledImage(sample=kept.sample, pixels=pixels, words=kept.words, annotation=annotation)
        for (kept, pixels), annotation in zip(found, annotations, strict=True)
    ]


class Replay:
    """One rank's reservoir, and the teacher that labels what is drawn from it."""

    def __init__(self, role: Role, *, reservoir: Reservoir, teacher: LabellingTeacher, ranks: Ranks) -> None:
        self._role = role
        self._config = role.config
        self._metrics = role.metrics.trainer
        self._lock = threading.Lock()
        self._reservoir = reservoir
        self._teacher = teacher
        self._ranks = ranks
        self._fetcher = ImageFetcher(max_bytes=self._config.data.max_image_bytes)
        # Its own: the trainer's thread asks another.
        self._staleness = Staleness(role.promotions, max_lag=None)
        self._follow(at_once=True)
        self._show()

    def take(self, *, rng: np.random.Generator, pool: Executor) -> Replayed:
        """Draw samples, fetch their images in `pool`, and label them; in the loader thread.

        Raises:
            RegistryError: there is no teacher that may label.
        """
        with self._lock:
            drawn = self._reservoir.draw(self._config.trainer.replay_images, rng=rng)
        self._role.watchdog.progress(f"fetching and decoding {len(drawn)} images to replay")
        found = [one for one in pool.map(self._find, drawn) if one is not None]
        if not found:
            return NOTHING
        teacher = self._follow()
        self._role.watchdog.progress(f"labelling {len(found)} images to replay")
        batch_images = self._config.labeler.batch_images
        labelled = label_again(found, label=self._teacher.label, batch_images=batch_images)
        self._role.watchdog.progress("fetching the partners of images to replay")
        images = [image for image in pool.map(self._complete, labelled) if image is not None]
        return Replayed(images, teacher) if images else NOTHING

    def add(self, messages: Iterable[LabelMessage]) -> None:
        """Take note of labels whose samples this rank has trained, and booked, for the first time."""
        with self._lock:
            for message in messages:
                self._reservoir.add(ReplaySample.of(message))
        self._show()

    def files(self) -> dict[str, bytes]:
        """Return what a checkpoint keeps of all ranks' reservoirs; all ranks call it at the same place."""
        with self._lock:
            mine = self._reservoir.state()
        return gather_reservoirs(mine, ranks=self._ranks)

    def _follow(self, *, at_once: bool = False) -> TeacherVersion:
        follower = self._teacher.follower
        follower.poll(at_once=at_once)
        teacher = follower.version
        if teacher is None or self._staleness.verdict(teacher) == "revoked":
            raise RegistryError(
                "no promoted teacher is left to label the images that are replayed: promote one, or set "
                "trainer.replay_images: 0"
            )
        return teacher

    def _find(self, kept: ReplaySample) -> tuple[ReplaySample, Pixels] | None:
        pixels = self._pixels(kept.image, of=kept)
        return None if pixels is None else (kept, pixels)

    def _complete(self, image: LabelledImage) -> LabelledImage | None:
        """Check a label as one that travels is checked, and fetch the partner images it names."""
        try:
            check_annotation(image.annotation, where=f"sample {image.sample}")
        except MessageError as error:
            self._skip(image, error, reason="label_invalid")
            return None
        partners = [self._pixels(payload, of=image) for payload in image.annotation.partner_images()]
        found = [pixels for pixels in partners if pixels is not None]
        return replace(image, partners=found) if len(found) == len(partners) else None

    def _pixels(self, payload: ImagePayload, *, of: ReplaySample | LabelledImage) -> Pixels | None:
        """Return an image's pixels; none where it is lost, and with it its sample, or cannot be had now."""
        try:
            return decode_image(self._fetcher.fetch(payload), max_pixels=self._config.data.max_image_pixels)
        except SampleError as error:
            self._lose(of, error, reason=error.reason)
        except ImageGone as error:
            self._lose(of, error, reason="image_gone")
        except DataError as error:
            self._skip(of, error, reason="image_unavailable")
        return None

    def _lose(self, of: ReplaySample | LabelledImage, error: DataError, *, reason: str) -> None:
        with self._lock:
            removed = self._reservoir.remove(of.sample)
        if removed:
            self._metrics.replay_losses.labels(reason).inc()
            self._role.log.warning(
                "cannot be replayed any more", sample=str(of.sample), reason=reason, detail=str(error)
            )
        self._show()

    def _skip(self, of: ReplaySample | LabelledImage, error: DataError | MessageError, *, reason: str) -> None:
        self._role.metrics.count_error(error)
        self._metrics.replay_skips.labels(reason).inc()
        self._role.log.info("not replayed this time", sample=str(of.sample), reason=reason, detail=str(error))

    def _show(self) -> None:
        with self._lock:
            samples, words = len(self._reservoir), self._reservoir.num_words
        self._metrics.replay_samples.set(samples)
        self._metrics.replay_words.set(words)
