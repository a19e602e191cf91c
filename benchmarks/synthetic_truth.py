"""Caption images of a synthetic corpus with what they really show, and labels judged by it."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from xpm_stream.config import RunConfig
from xpm_stream.data.images import decode_image
from xpm_stream.data.shard_urls import expand_shard_urls
from xpm_stream.data.splits import load_split
from xpm_stream.data.synthetic import Truth, read_truth
from xpm_stream.data.synthetic.catalog import CLASSES
from xpm_stream.data.tar_reading import TarSample, read_samples
from xpm_stream.errors import DataError
from xpm_stream.evaluation.pseudo_labels import JudgedInstance, pseudo_label_accuracy
from xpm_stream.evaluation.truth import GroundTruth
from xpm_stream.masks import MASK_BYTES
from xpm_stream.methods.base import CaptionImage
from xpm_stream.records import InstanceAnnotation, PseudoInstance, SampleId
from xpm_stream.text.caption_nouns import CaptionNouns

SYNONYMS: Final = {synonym: word for word, entry in CLASSES.items() for synonym in entry.synonyms}


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownImage:
    """A captioned image and what it really shows."""

    image: CaptionImage
    truth: Truth


def known_images(config: RunConfig, *, number: int = 0) -> list[KnownImage]:
    """The usable samples of the run's shards in stream order, with their truth; `number` above 0: the last so many.

    Raises:
        DataError: a sample says nothing of its truth, or none can be used.
    """
    nouns, found = CaptionNouns.load(), []
    for shard in expand_shard_urls(config.data.shards):
        truths = _truths(shard.url)
        for item in read_samples(shard.url, config=config.data):
            if not isinstance(item, TarSample) or item.problem is not None:
                continue
            words = nouns.find_all(item.captions)
            if not words:
                continue
            if item.key not in truths:
                raise DataError(f"{shard.url}: sample {item.key} says no truth; only synthetic corpora do")
            pixels = decode_image(item.image, max_pixels=config.data.max_image_pixels)
            sample = SampleId(0, shard.shard_id, item.ordinal)
            image = CaptionImage(sample=sample, pixels=pixels, words=words, captions=item.captions)
            found.append(KnownImage(image=image, truth=truths[item.key]))
    if not found:
        raise DataError("no caption image of data.shards has an object noun")
    return found[-number:]


def _truths(url: str) -> dict[str, Truth]:
    truths = {}
    with tarfile.open(url.removeprefix("file://")) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.name.endswith(".json") else None
            truth = read_truth(content.read()) if content is not None else None
            if truth is not None:
                truths[member.name.removesuffix(".json")] = truth
    return truths


def coco_truth(images: Sequence[KnownImage]) -> GroundTruth:
    """The truth as the evaluation reads it; image ids count from 0."""
    category_ids = {word: index + 1 for index, word in enumerate(CLASSES)}
    annotations: list[dict[str, Any]] = []
    for image_id, known in enumerate(images):
        for instance in known.truth.instances:
            x0, y0, x1, y1 = instance.box_xyxy
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": category_ids[instance.word],
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": (x1 - x0) * (y1 - y0),
                    "segmentation": msgspec.to_builtins(instance.segmentation),
                    "iscrowd": 0,
                }
            )
    shapes = [known.image.pixels.shape for known in images]
    return GroundTruth.from_coco(
        {
            "images": [{"id": index, "height": h, "width": w} for index, (h, w, _) in enumerate(shapes)],
            "annotations": annotations,
            "categories": [{"id": number, "name": word} for word, number in category_ids.items()],
        },
        source="truth of the caption shards",
    )


class Judge:
    """Says which labels are right."""

    def __init__(self, config: RunConfig, images: Sequence[KnownImage]) -> None:
        self._split = load_split(config.data.split.file)
        self._truth = coco_truth(images)

    def judge(self, labels: Sequence[Sequence[tuple[str, Sequence[float]]]]) -> list[tuple[int, JudgedInstance]]:
        """Judge words with boxes of each image; with each, its place among all labels. Words of no class drop out."""
        annotations, place = {}, 0
        for image_id, of_image in enumerate(labels):
            instances = []
            for word, (x0, y0, x1, y1) in of_image:
                # The place travels in the score, which judging does not read.
                box = (float(x0), float(y0), float(x1), float(y1))
                instances.append(
                    PseudoInstance(word=word, box_xyxy=box, mask_bits=bytes(MASK_BYTES), score=float(place))
                )
                place += 1
            annotations[image_id] = InstanceAnnotation(instances=instances)
        report = pseudo_label_accuracy(
            annotations, truth=self._truth, base=self._split.base, target=self._split.target, synonyms=SYNONYMS
        )
        return [(int(item.instance.score), item) for item in report.judged]
