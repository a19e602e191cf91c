"""A labeler's teacher: waits for the first, follows the newest, and turns images into label messages."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from xpm_stream.errors import MessageError, SampleError
from xpm_stream.label_queue import EncodedLabel, encode
from xpm_stream.methods.base import CaptionImage
from xpm_stream.records import Annotation, LabelMessage, SampleId, TeacherVersion
from xpm_stream.stages.devices import choose_device
from xpm_stream.stages.labelling_teacher import LabellingTeacher
from xpm_stream.stages.prepared_samples import Usable
from xpm_stream.stages.process import Role
from xpm_stream.stages.teachers import first_base_classes


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """What a teacher said of a batch, as it is committed."""

    messages: list[LabelMessage]
    encoded: list[EncodedLabel]  # the same
    refused: dict[SampleId, SampleError]  # samples whose labels cannot be written, reason `label_invalid`


class Annotator:
    """The newest promoted teacher, ready to label."""

    @classmethod
    def await_teacher(cls, role: Role) -> Annotator | None:
        """Wait for the first promoted teacher; none if told to stop before."""
        ready: list[Annotator] = []
        role.unready.append(lambda: None if ready else "no teacher is loaded yet")
        while not role.stop.is_set():
            role.watchdog.progress("waiting for the first teacher")
            base_classes = first_base_classes(role.checkpoints, role.promotions)
            if base_classes is not None:
                ready.append(cls(role, base_classes=base_classes))
                return ready[0]
            role.stop.wait(min(1.0, role.config.labeler.teacher_poll_s))
        return None

    def __init__(self, role: Role, *, base_classes: Sequence[str]) -> None:
        config = role.config
        self._config = config
        self._metrics = role.metrics.labeler
        device = choose_device(config.labeler.device, threads=config.labeler.threads)
        self._teacher = LabellingTeacher(role, base_classes=base_classes, device=device)
        self._follower = self._teacher.follower
        self._follow()

    def annotate(self, samples: Sequence[tuple[SampleId, Usable]], *, again: bool = False) -> Labels:
        """Label samples with the teacher of this moment: one message for each, in order, or why there is none.

        Samples labelled `again` came back because their teacher is stale or revoked: the log is looked at first, or the
        same teacher might label them again.
        """
        if not samples:
            return Labels(messages=[], encoded=[], refused={})
        self._follow(at_once=again)
        with self._metrics.label_seconds.time():
            annotations = self._teacher.label(caption_images(samples))
        teacher = self._follower.version
        assert teacher is not None, "an annotator is made only when a teacher is promoted"
        return labels_of(samples, annotations, method=self._config.method, teacher=teacher)

    def _follow(self, *, at_once: bool = False) -> None:
        started = time.monotonic()
        if not self._follower.poll(at_once=at_once):
            return
        version, promoted_at_s = self._follower.version, self._follower.promoted_at_s
        assert version is not None
        assert promoted_at_s is not None
        self._metrics.teacher_loads.inc()
        self._metrics.teacher_load_seconds.observe(time.monotonic() - started)
        self._metrics.use_teacher(version.promotion, promoted_at_s=promoted_at_s)


def caption_images(samples: Sequence[tuple[SampleId, Usable]]) -> list[CaptionImage]:
    """Return samples as a method labels them."""
    return [
        CaptionImage(
            sample=sample,
            pixels=usable.pixels,
            words=usable.words,
            captions=usable.captions,
            payload=usable.payload,
            previous=usable.previous,
        )
        for sample, usable in samples
    ]


def labels_of(
    samples: Sequence[tuple[SampleId, Usable]],
    annotations: Sequence[Annotation],
    *,
    method: str,
    teacher: TeacherVersion,
) -> Labels:
    """Return what `teacher` said of samples as label messages: one for each, in order, or why there is none."""
    now = time.time()
    return _encoded(
        LabelMessage(
            method=method,
            sample=sample,
            teacher=teacher,
            image=usable.payload,
            image_size_wh=(usable.pixels.shape[1], usable.pixels.shape[0]),
            words=usable.words,
            annotation=annotation,
            labelled_at_s=now,
            key=usable.key,
            nouns_per_caption=usable.nouns_per_caption,
        )
        for (sample, usable), annotation in zip(samples, annotations, strict=True)
    )


def _encoded(messages: Iterable[LabelMessage]) -> Labels:
    """Encode each label; one that cannot be written costs its own sample, not the batch or the labeler."""
    labels = Labels(messages=[], encoded=[], refused={})
    for message in messages:
        try:
            data = encode(message)
        except MessageError as error:
            labels.refused[message.sample] = SampleError(str(error), reason="label_invalid")
            continue
        labels.messages.append(message)
        labels.encoded.append(EncodedLabel(sample=message.sample, data=data))
    return labels
