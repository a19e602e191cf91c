"""Twenty real optimiser steps of one arm: labels of a fixed teacher, batches, losses; all of it seeded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from golden_arms import PRETRAINING_ARMS, arm_config
from torch import Tensor

from xpm_stream.config import RunConfig
from xpm_stream.config.data_sections import SyntheticCorpusConfig
from xpm_stream.data.base_set import BaseSet
from xpm_stream.data.splits import load_split
from xpm_stream.data.synthetic import CorpusPaths, write_corpus
from xpm_stream.errors import XpmStreamError
from xpm_stream.learning.grounding import Alone
from xpm_stream.methods import WITHOUT_LABELER, find_method
from xpm_stream.methods.base import CaptionGrounder, CaptionImage, LabelledImage, Method
from xpm_stream.monitoring.metrics import Metrics
from xpm_stream.records import Annotation, InstanceAnnotation, SampleId, ShardId
from xpm_stream.stages.base_feed import BaseFeed
from xpm_stream.stages.caption_feed import CaptionFeed
from xpm_stream.stages.devices import seed_torch
from xpm_stream.stages.network_files import load_network, network_files
from xpm_stream.stages.optimisation import Optimisation
from xpm_stream.stages.preparation import synthetic_config

STEPS: Final = 20
_SEED: Final = 0
_BATCH_BASE: Final = 2
_BATCH_CAPTIONS: Final = 2
_CAPTION_IMAGES: Final = 8
_CORPUS: Final = {"base_images": 8, "caption_images": 12, "val_images": 1, "images_per_shard": 12, "nounless_rate": 0.0}

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenRun:
    """What an arm said and learnt, JSON-able, to nine significant digits: as many as tell two float32 apart."""

    labels: list[dict[str, Any]]  # of the first batch; empty for methods that make none
    losses: dict[str, list[float]]  # by name, of each step


def write_golden_corpus(folder: Path) -> CorpusPaths:
    """Draw the few pictures that all arms share."""
    section = SyntheticCorpusConfig.model_validate({"preset": "tiny", "settings": _CORPUS})
    return write_corpus(folder, preset=synthetic_config(section), seed=_SEED)


def run_arm(name: str, *, corpus: CorpusPaths) -> GoldenRun:
    """Label with a fresh teacher, then train a student that starts at its weights; on the CPU, as fp32."""
    config = arm_config(name, corpus=corpus)
    assert config.data.base is not None
    base_set = BaseSet.load(config.data.base, class_names=load_split(config.data.split.file).base)
    seed_torch(_SEED, epoch=0)
    teacher = find_method(config.method)(config, base_classes=base_set.class_names)
    images = _caption_images(config)
    labelled = [] if config.method in WITHOUT_LABELER else _label(teacher, images)
    student = find_method(config.method)(config, base_classes=base_set.class_names)
    load_network(student, network_files(teacher, config=config, base_classes=base_set.class_names), name=name)
    seed_torch(_SEED, epoch=1)
    optimisation = Optimisation(student.network, config=config.optimiser, total_steps=STEPS)
    base_feed = BaseFeed(base_set, seed=_SEED)
    seen: dict[str, list[float]] = {}
    for step in range(STEPS):
        rng = np.random.default_rng([_SEED, step])
        losses: dict[str, Tensor] = {}
        if name not in PRETRAINING_ARMS:
            of_step = _turn(labelled, step)
            student.note_words([one.words for one in of_step])
            losses |= student.losses(student.collate(of_step, base_feed.take(_BATCH_BASE), rng=rng))
        if name in PRETRAINING_ARMS or config.teacher.grounding_weight:
            losses |= _ground(student, _turn(images, step), config=config, alone=not losses, rng=rng)
        optimisation.step(losses)
        for loss_name, loss in losses.items():
            seen.setdefault(loss_name, []).append(_nine_digits(float(loss.detach())))
    return GoldenRun(labels=[_shown(one) for one in labelled[:_BATCH_CAPTIONS]], losses=seen)


def _caption_images(config: RunConfig) -> list[CaptionImage]:
    def fail(error: XpmStreamError, url: str) -> None:
        raise AssertionError(f"the corpus cannot be read: {url}: {error}")

    feed = CaptionFeed(config.data, seed=_SEED, metrics=Metrics("labeler").labeler, on_problem=fail)
    # A sample's own name comes from its shard's path and time, and Soft Teacher draws by it.
    return [
        replace(image, sample=SampleId(0, ShardId("golden"), ordinal))
        for ordinal, image in enumerate(feed.take(_CAPTION_IMAGES))
    ]


def _label(teacher: Method, images: Sequence[CaptionImage]) -> list[LabelledImage]:
    annotations: list[Annotation] = []
    for start in range(0, len(images), _BATCH_CAPTIONS):
        annotations += teacher.label(images[start : start + _BATCH_CAPTIONS])
    return [
        LabelledImage(sample=image.sample, pixels=image.pixels, words=image.words, annotation=annotation)
        for image, annotation in zip(images, annotations, strict=True)
    ]


def _turn(items: Sequence[T], step: int) -> list[T]:
    """The step's few of `items`, round and round."""
    first = step * _BATCH_CAPTIONS
    return [items[place % len(items)] for place in range(first, first + _BATCH_CAPTIONS)] if items else []


def _ground(
    student: Method, images: Sequence[CaptionImage], *, config: RunConfig, alone: bool, rng: np.random.Generator
) -> dict[str, Tensor]:
    """Match captions and images: alone as pretraining does, else as teacher training does beside detection."""
    assert isinstance(student, CaptionGrounder)
    batch = student.collate_captions(images, rng=rng)
    matching = student.ground(batch, regions="windows" if alone else "proposals", company=Alone())
    weight = 1.0 if alone else config.teacher.grounding_weight
    return {name: weight * loss for name, loss in matching.losses.items()}


def _shown(image: LabelledImage) -> dict[str, Any]:
    annotation: object = image.annotation
    assert isinstance(annotation, InstanceAnnotation), "a method with another kind of label is shown another way"
    return {
        "words": image.words,
        "instances": [
            {
                "word": one.word,
                "box_xyxy": [_nine_digits(side) for side in one.box_xyxy],
                "score": _nine_digits(one.score),
                "reliability": None if one.reliability is None else _nine_digits(one.reliability),
                "mask_cells": int.from_bytes(one.mask_bits, "big").bit_count(),
            }
            for one in annotation.instances
        ],
        "proposals": [
            {
                "box_xyxy": [_nine_digits(side) for side in one.box_xyxy],
                "background_score": _nine_digits(one.background_score),
            }
            for one in annotation.proposals
        ],
    }


def _nine_digits(value: float) -> float:
    return float(f"{value:.9g}")
