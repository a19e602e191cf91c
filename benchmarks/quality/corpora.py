"""The caption images of a trial, in stream order, decoded once and held in memory with their truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.quality.arms import Captions
from benchmarks.synthetic_truth import SYNONYMS, KnownImage, known_images
from xpm_stream.config import RunConfig
from xpm_stream.data.splits import load_split
from xpm_stream.data.synthetic import CorpusPaths


class CaptionStream:
    """Gives each step its images: the whole corpus again and again, or one whose words change at half time."""

    def __init__(self, config: RunConfig, *, of: Captions, shift: bool, steps: int) -> None:
        images = [] if of == "none" else known_images(config)
        if of == "base":
            images = _with_words_of(images, frozenset(load_split(config.data.split.file).base))
        if of == "shuffled":
            images = _with_words_of_others(images)
        self._parts = _shifted(images, config) if shift else [images]
        self._steps_a_part = -(-steps // len(self._parts))
        self._taken = [0] * len(self._parts)

    def take(self, step: int, count: int) -> list[KnownImage]:
        """The images of this step; none if the trial has no captions."""
        number = min(step // self._steps_a_part, len(self._parts) - 1)
        part, begin = self._parts[number], self._taken[number]
        self._taken[number] += count
        return [part[index % len(part)] for index in range(begin, begin + count)] if part else []


def _with_words_of(images: list[KnownImage], classes: frozenset[str]) -> list[KnownImage]:
    """Only what is told changes; an image of which nothing is told is skipped, as labelers do."""
    kept = []
    for known in images:
        words = [word for word in known.image.words if SYNONYMS.get(word, word) in classes]
        if words:
            kept.append(replace(known, image=replace(known.image, words=words)))
    return kept


def _with_words_of_others(images: list[KnownImage]) -> list[KnownImage]:
    """Each image with the captions of the next one."""
    return [
        replace(known, image=replace(known.image, words=other.image.words, captions=other.image.captions))
        for known, other in zip(images, [*images[1:], *images[:1]], strict=True)
    ]


def _shifted(images: list[KnownImage], config: RunConfig) -> list[list[KnownImage]]:
    """First half as drawn (late classes have not come), second half without the early target classes."""
    late = late_targets(config)
    early = {word for word in load_split(config.data.split.file).target if word not in late}
    half = len(images) // 2
    second = [known for known in images[half:] if not early & {item.word for item in known.truth.instances}]
    return [images[:half], second]


def late_targets(config: RunConfig) -> list[str]:
    """Target classes that are not there at the start of the caption stream."""
    late = CorpusPaths.load(Path(config.data.split.file).parent).late_words
    return [word for word in load_split(config.data.split.file).target if word in late]
