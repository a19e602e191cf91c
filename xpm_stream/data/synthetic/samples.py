"""Sample i of one part of a corpus: a function of configuration, seed, part and i alone; any process may draw it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from xpm_stream.data.synthetic.captions import Caption, write_captions
from xpm_stream.data.synthetic.catalog import ClassSplit, split_classes
from xpm_stream.data.synthetic.corpus_config import SyntheticConfig
from xpm_stream.data.synthetic.scene import Scene, SceneObject, compose_scene

Part = Literal["base_train", "val", "captions"]
_PART_NUMBER: Final[dict[Part, int]] = {"base_train": 0, "val": 1, "captions": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnInstance:
    """One object of a drawn sample."""

    word: str
    box_xyxy: tuple[int, int, int, int]  # pixels, right and bottom exclusive
    area: int  # pixels
    counts: str  # COCO's compressed run lengths of the mask


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnSample:
    """An encoded picture, all that is in it, and its captions (captions part only)."""

    index: int
    jpeg: bytes
    size_wh: tuple[int, int]
    instances: tuple[DrawnInstance, ...]
    captions: tuple[Caption, ...]


def draw_sample(config: SyntheticConfig, *, seed: int, part: Part, index: int) -> DrawnSample:
    """Draw, describe and encode one sample."""
    rng = np.random.default_rng([seed, _PART_NUMBER[part], index])
    split = split_classes(config)
    scene = compose_scene(config, words=_choose_words(config, split=split, part=part, index=index, rng=rng), rng=rng)
    captions: tuple[Caption, ...] = ()
    if part == "captions":
        vocabulary = [word for word in split.all if _has_arrived(word, config=config, split=split, index=index)]
        shown = [item.word for item in scene.objects]
        captions = tuple(write_captions(shown, config=config, vocabulary=vocabulary, rng=rng))
    height, width = scene.pixels.shape[:2]
    return DrawnSample(
        index=index,
        jpeg=_encode(scene, quality=int(rng.integers(config.jpeg_quality[0], config.jpeg_quality[1] + 1))),
        size_wh=(width, height),
        instances=tuple(_instance(item) for item in scene.objects),
        captions=captions,
    )


def _choose_words(
    config: SyntheticConfig, *, split: ClassSplit, part: Part, index: int, rng: np.random.Generator
) -> list[str]:
    number = int(rng.integers(config.objects[0], config.objects[1] + 1))
    words: list[str] = []
    for place in range(number):
        if words and rng.random() < config.repeat_rate:
            words.append(words[int(rng.integers(len(words)))])
            continue
        # A base image without a base object would carry no annotation at all.
        pool = (
            split.base if part == "base_train" and place == 0 else _draw_pool(config, split=split, part=part, rng=rng)
        )
        if part == "captions":
            pool = tuple(word for word in pool if _has_arrived(word, config=config, split=split, index=index))
        pool = pool or split.base
        words.append(pool[int(rng.integers(len(pool)))])
    return words


def _draw_pool(config: SyntheticConfig, *, split: ClassSplit, part: Part, rng: np.random.Generator) -> tuple[str, ...]:
    target_rate = {
        "base_train": config.base_set_target_rate,
        "val": config.val_target_rate,
        "captions": config.caption_target_rate,
    }[part]
    draw = rng.random()
    if draw < target_rate:
        return split.target
    if part == "captions" and draw < target_rate + config.caption_unannotated_rate:
        return split.unannotated
    return split.base


def _has_arrived(word: str, *, config: SyntheticConfig, split: ClassSplit, index: int) -> bool:
    return word not in split.late or index >= config.late_from * config.caption_images


def _instance(item: SceneObject) -> DrawnInstance:
    encoded = coco_mask.encode(np.asfortranarray(item.mask, dtype=np.uint8))
    return DrawnInstance(
        word=item.word,
        box_xyxy=item.box_xyxy,
        area=int(item.mask.sum()),
        counts=encoded["counts"].decode("ascii"),
    )


def _encode(scene: Scene, *, quality: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(scene.pixels).save(stream, format="JPEG", quality=quality)
    return stream.getvalue()


def draw_samples(config: SyntheticConfig, *, seed: int, part: Part, indices: Sequence[int]) -> list[DrawnSample]:
    """Several samples in order: one task of a worker process."""
    return [draw_sample(config, seed=seed, part=part, index=index) for index in indices]
