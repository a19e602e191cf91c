"""Stub methods that go wrong in one way each."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from benchmarks.stub.counting import Counting, number_of
from xpm_stream.methods.base import CaptionImage
from xpm_stream.records import Annotation, InstanceAnnotation

BAD_SAMPLE = 20
SLOW_S = 1.5


class BadScore(Counting):
    """Gives one image a score that is no number."""

    def label(self, images: Sequence[CaptionImage]) -> list[Annotation]:
        annotations = super().label(images)
        return [
            _without_score(annotation) if number_of(image.pixels) == BAD_SAMPLE else annotation
            for image, annotation in zip(images, annotations, strict=True)
        ]


class Slow(Counting):
    """Takes longer for a batch than a lease lasts."""

    def label(self, images: Sequence[CaptionImage]) -> list[Annotation]:
        time.sleep(SLOW_S)
        return super().label(images)


def _without_score(annotation: Annotation) -> Annotation:
    assert isinstance(annotation, InstanceAnnotation)
    first = msgspec.structs.replace(annotation.instances[0], score=math.nan)
    return InstanceAnnotation(instances=[first])


class NotesWords(Counting):
    """Keeps in checkpoints of how many samples it was told the words."""

    noted = 0

    def note_words(self, words: Sequence[Sequence[str]]) -> None:
        self.noted += len(words)

    def state(self) -> dict[str, Any]:
        return {**super().state(), "noted": self.noted}
