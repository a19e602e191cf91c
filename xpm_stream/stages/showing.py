"""Pictures of pseudo labels: a teacher labels a few captioned images, and the paper's Figure 3 is drawn of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from xpm_stream.config import RunConfig
from xpm_stream.data.images import decode_image
from xpm_stream.data.shard_urls import expand_shard_urls
from xpm_stream.data.tar_reading import TarSample, read_samples
from xpm_stream.errors import DataError, SampleError
from xpm_stream.masks import unpack_mask_bits
from xpm_stream.methods.base import CaptionImage, NoiseMapper
from xpm_stream.monitoring.pictures import PictureExample, PictureInstance, save_figure
from xpm_stream.records import InstanceAnnotation, PseudoInstance, SampleId
from xpm_stream.stages.loaded_model import LoadedModel, load_model
from xpm_stream.text.caption_nouns import CaptionNouns

_WARM_UP_IMAGES = 64  # labelled first, so that the per-word statistics of the reliability mean something
_BATCH = 8


def show_pseudo_labels(config: RunConfig, *, checkpoint: str, output: Path, examples: int = 8) -> Path:
    """Label captioned images of the run's shards with a checkpoint and draw them.

    Raises:
        DataError: no sample of the shards can be labelled.
    """
    return save_figure(labelled_examples(config, checkpoint=checkpoint, examples=examples), output)


def labelled_examples(config: RunConfig, *, checkpoint: str, examples: int) -> list[PictureExample]:
    """Label captioned images of the run's newest shards with a checkpoint; return the last so many that have objects.

    Raises:
        DataError: no sample of the shards can be labelled.
    """
    model = load_model(checkpoint, like=config)
    shown = list(_labelled(model, config, wanted=_WARM_UP_IMAGES + examples))[-examples:]
    if not shown:
        raise DataError("no caption image of data.shards has an object noun: nothing to show")
    return shown


def _labelled(model: LoadedModel, config: RunConfig, *, wanted: int) -> Iterator[PictureExample]:
    images: list[tuple[CaptionImage, str]] = []
    for image, key in _caption_images(config):
        images.append((image, key))
        wanted -= 1
        if len(images) == _BATCH or wanted == 0:
            yield from _examples(model, images)
            images = []
        if wanted == 0:
            return
    if images:
        yield from _examples(model, images)


def _examples(model: LoadedModel, batch: Sequence[tuple[CaptionImage, str]]) -> Iterator[PictureExample]:
    images = [image for image, _ in batch]
    annotations = model.method.label(images)
    instances = [a.instances if isinstance(a, InstanceAnnotation) else [] for a in annotations]
    for (image, key), of_image, noise in zip(batch, instances, _noise(model, images, instances), strict=True):
        if not of_image:
            continue
        drawn = [
            PictureInstance(
                word=instance.word,
                box_xyxy=instance.box_xyxy,
                mask=unpack_mask_bits(instance.mask_bits),
                noise=None if variance is None else np.sqrt(variance),
                reliability=instance.reliability,
            )
            for instance, variance in zip(of_image, noise, strict=True)
        ]
        yield PictureExample(pixels=image.pixels, caption=image.captions[0], instances=drawn, note=key)


def _noise(
    model: LoadedModel, images: Sequence[CaptionImage], instances: Sequence[Sequence[PseudoInstance]]
) -> Sequence[Sequence[npt.NDArray[np.float32] | None]]:
    if not isinstance(model.method, NoiseMapper):
        return [[None] * len(of_image) for of_image in instances]
    boxes = [[instance.box_xyxy for instance in of_image] for of_image in instances]
    return [list(maps) for maps in model.method.noise_maps([image.pixels for image in images], boxes)]


def _caption_images(config: RunConfig) -> Iterator[tuple[CaptionImage, str]]:
    nouns = CaptionNouns.load()
    for shard in reversed(expand_shard_urls(config.data.shards)):
        for item in read_samples(shard.url, config=config.data):
            if not isinstance(item, TarSample) or item.problem is not None:
                continue
            words = nouns.find_all(item.captions)
            try:
                pixels = decode_image(item.image, max_pixels=config.data.max_image_pixels)
            except SampleError:
                continue  # a picture is for people: the labelers book what cannot be used
            if words:
                captions = sorted(item.captions, key=lambda caption: -len(nouns.find(caption)))
                sample = SampleId(0, shard.shard_id, item.ordinal)
                yield CaptionImage(sample=sample, pixels=pixels, words=words, captions=captions), item.key
