"""What a checkpoint does on held-out and canary images: measured once, kept in the registry."""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Final

import msgspec
import numpy as np
import torch
from scipy.stats import entropy

from xpm_stream.config import RunConfig
from xpm_stream.data.base_set import BaseSet
from xpm_stream.data.splits import load_split
from xpm_stream.errors import RegistryError
from xpm_stream.evaluation.agreement import label_agreement
from xpm_stream.evaluation.evaluate import judge_classes
from xpm_stream.evaluation.truth import GroundTruth
from xpm_stream.methods.base import CaptionImage, InstanceMethod, Method
from xpm_stream.monitoring.canary_labels import (
    CanaryInstance,
    CanaryLabels,
    canary_labels_path,
    decode_canary_labels,
    encode_canary_labels,
)
from xpm_stream.monitoring.drift_measures import LabelMeasures
from xpm_stream.monitoring.label_measures import measures_of_findings
from xpm_stream.records import SampleId, ShardId
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.registry.gates import GateMeasures
from xpm_stream.registry.store import Store
from xpm_stream.stages.canary_set import CanaryImage, CanarySet
from xpm_stream.stages.devices import autocast, choose_device
from xpm_stream.stages.loaded_model import LoadedModel, load_method, require_trusted_method
from xpm_stream.stages.network_files import checkpoint_config

MEASURES_FOLDER: Final = "gates"
_ENTROPY_WORDS: Final = 200  # of the canary captions, most frequent first; asked for beside base classes


class GateMeter:
    """Measures checkpoints on one set of images; what has been measured is read."""

    def __init__(
        self,
        config: RunConfig,
        *,
        store: Store,
        checkpoints: CheckpointStore,
        canary: CanarySet | None,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        """Load the held-out annotations; images are read when they are measured on.

        Raises:
            BaseSetError: the held-out annotations cannot be used.
        """
        self._config = config
        self._store = store
        self._checkpoints = checkpoints
        self._canary = canary
        self._on_progress = on_progress
        self._held_out = _HeldOut.of(config)
        self._set_id = self._identify()

    @property
    def has_images(self) -> bool:
        """Whether there is anything to measure on."""
        return self._canary is not None or self._held_out is not None

    def measure(self, checkpoint: str) -> GateMeasures:
        """Return what a checkpoint does.

        Raises:
            CheckpointError: it is missing or damaged.
            DataError: images or annotations cannot be read now.
        """
        path = f"{MEASURES_FOLDER}/{self._set_id}/{checkpoint}.json"
        known = _read(self._store, path)
        if known is not None:
            return _decode(known, path)
        measures = self._measure(checkpoint)
        _create(self._store, path, msgspec.json.format(msgspec.json.encode(measures)) + b"\n")
        return measures

    def agreement(self, first: str, second: str) -> float | None:
        """Return the share of canary labels that two measured checkpoints agree on; None without a canary set."""
        if self._canary is None:
            return None
        ours, theirs = (
            [[(one.word, one.box_xyxy) for one in of_image] for of_image in self._canary_labels(name).instances]
            for name in (first, second)
        )
        return label_agreement(ours, theirs)

    def _canary_labels(self, checkpoint: str) -> CanaryLabels:
        return decode_canary_labels(self._store.read(canary_labels_path(checkpoint)))

    def _identify(self) -> str:
        """What measures depend on, but for the checkpoint."""
        parts = [
            self._canary.canary_id if self._canary else None,
            self._held_out.key if self._held_out else None,
            self._config.evaluation.model_dump(exclude={"threads", "batch_images"}),
        ]
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:16]

    def _measure(self, checkpoint: str) -> GateMeasures:
        started = time.monotonic()
        files = self._checkpoints.read(checkpoint)
        gates = self._config.promotion.gates
        device = choose_device(gates.device, threads=self._config.evaluation.threads)
        own = checkpoint_config(files, name=checkpoint)
        require_trusted_method(own.method, self._config, checkpoint)
        own = own.model_copy(update={"evaluation": self._config.evaluation})
        method = load_method(files, name=checkpoint, config=own, device=device)
        model = LoadedModel(checkpoint, own, method, device) if isinstance(method, InstanceMethod) else None
        base_ap50 = None
        if self._held_out is not None and model is not None:
            base_ap50 = self._held_out.base_ap50(model, on_progress=self._on_progress)
        labels = None
        if self._canary is not None:
            labels = self._label(self._canary, method, checkpoint=checkpoint, device=device)
            _create(self._store, canary_labels_path(checkpoint), encode_canary_labels(labels))
        return GateMeasures(
            checkpoint=checkpoint,
            set_id=self._set_id,
            base_ap50=base_ap50,
            num_held_out=len(self._held_out.image_ids) if base_ap50 is not None and self._held_out else 0,
            num_canary=len(labels.images) if labels else 0,
            labels_per_image=labels.num_instances / len(labels.images) if labels else None,
            word_entropy=self._entropy(self._canary, model) if self._canary and model else None,
            mean_reliability=labels.mean_reliability if labels else None,
            seconds=round(time.monotonic() - started, 2),
        )

    def _label(self, canary: CanarySet, method: Method, *, checkpoint: str, device: torch.device) -> CanaryLabels:
        images: list[LabelMeasures] = []
        instances: list[list[CanaryInstance]] = []
        for batch in _batches(canary.images, self._config.labeler.batch_images):
            asked = [self._caption_image(image) for image in batch]
            with torch.inference_mode(), autocast(device, precision=self._config.labeler.precision):
                annotations = method.label(asked)
            for image, pixels, annotation in zip(batch, asked, annotations, strict=True):
                height, width = pixels.pixels.shape[:2]
                findings = annotation.findings((width, height))
                images.append(
                    measures_of_findings(findings, nouns_per_caption=image.nouns_per_caption, words=image.words)
                )
                instances.append(
                    [CanaryInstance(word=one.word, box_xyxy=one.box_xyxy) for one in findings if one.box_xyxy]
                )
            self._on_progress()
        return CanaryLabels(checkpoint=checkpoint, canary_id=canary.canary_id, images=images, instances=instances)

    def _caption_image(self, image: CanaryImage) -> CaptionImage:
        return CaptionImage(
            sample=SampleId(0, ShardId(image.shard_id), image.ordinal),
            pixels=image.pixels(max_pixels=self._config.data.max_image_pixels),
            words=image.words,
            captions=image.captions,
        )

    def _entropy(self, canary: CanarySet, model: LoadedModel) -> float:
        """Entropy of the words that detections get, weighted by score: a collapsed classifier says one word always."""
        counts: dict[str, int] = defaultdict(int)
        for image in canary.images:
            for word in image.words:
                counts[word] += 1
        frequent = sorted(counts, key=lambda word: (-counts[word], word))[:_ENTROPY_WORDS]
        vocabulary = list(dict.fromkeys([*load_split(self._config.data.split.file).base, *frequent]))
        weights: dict[str, float] = defaultdict(float)
        for batch in _batches(canary.images, self._config.evaluation.batch_images):
            pixels = [image.pixels(max_pixels=self._config.data.max_image_pixels) for image in batch]
            for found in model.detect(pixels, [vocabulary])[0]:
                for word, score in zip(found.class_names, found.scores, strict=True):
                    weights[word] += float(score)
            self._on_progress()
        return float(entropy(list(weights.values()))) if weights else 0.0


class _HeldOut:
    """Held-out images with masks of base classes."""

    def __init__(self, truth: GroundTruth, images: BaseSet, classes: Sequence[str], config: RunConfig) -> None:
        self._truth = truth
        self._images = images
        self._classes = classes
        self._config = config
        self._index_of = {image.id: index for index, image in enumerate(images.images)}
        with_classes = truth.images_with(classes)
        wanted = min(config.promotion.gates.held_out_images, len(with_classes))
        places = np.linspace(0, len(with_classes) - 1, num=wanted).round().astype(int)
        self.image_ids = [with_classes[place] for place in places]
        self.key = [PurePosixPath(truth.source).name, self.image_ids, list(classes)]

    @classmethod
    def of(cls, config: RunConfig) -> _HeldOut | None:
        """Return the images that the gates are configured to use, or none."""
        if config.data.val is None or not config.promotion.gates.held_out_images:
            return None
        truth = GroundTruth.from_file(config.data.val.annotations)
        classes = truth.known_classes(load_split(config.data.split.file).base)
        if not truth.images_with(classes):
            return None
        return cls(truth, BaseSet.load(config.data.val, class_names=classes), classes, config)

    def base_ap50(self, model: LoadedModel, *, on_progress: Callable[[], None]) -> float | None:
        """Return mask AP50 of the base classes, percent."""
        scores = judge_classes(
            model,
            truth=self._truth.subset(self.image_ids),
            read_image=lambda image_id: self._images[self._index_of[image_id]].pixels,
            names=self._classes,
            config=self._config.evaluation,
            on_progress=lambda _done, _all: on_progress(),
        )
        ap50 = scores.by_split["base"].mask.ap50
        return None if ap50 is None else 100 * ap50


def _batches(images: Sequence[CanaryImage], size: int) -> Iterator[Sequence[CanaryImage]]:
    for start in range(0, len(images), size):
        yield images[start : start + size]


def _read(store: Store, path: str) -> bytes | None:
    try:
        return store.read(path)
    except FileNotFoundError:
        return None


def _create(store: Store, path: str, data: bytes) -> None:
    """Keep a file that another promoter may have made before: of one checkpoint, both say the same."""
    try:
        store.create(path, data)
    except FileExistsError:
        return


def _decode(data: bytes, path: str) -> GateMeasures:
    try:
        return msgspec.json.decode(data, type=GateMeasures)
    except msgspec.DecodeError as error:
        raise RegistryError(f"{path} in the registry is damaged ({error}): delete it, to measure again") from error
