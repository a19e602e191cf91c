"""A checkpoint brought back as a method that can detect and label, from a folder on any fsspec URL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from xpm_stream.config import RunConfig
from xpm_stream.errors import ConfigError
from xpm_stream.evaluation.detector import Floats, ImageDetections
from xpm_stream.methods import find_method
from xpm_stream.methods.base import InstanceMethod, Method
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.stages.devices import autocast, choose_device
from xpm_stream.stages.network_files import (
    carried_embedder,
    checkpoint_base_classes,
    checkpoint_config,
    load_network,
)

Pixels = npt.NDArray[np.uint8]  # H x W x 3, RGB


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A checkpoint's method on a device; satisfies the evaluation's Detector and BoxProposer."""

    name: str
    config: RunConfig
    method: InstanceMethod
    device: torch.device

    def detect(
        self, images: Sequence[Pixels], vocabularies: Sequence[Sequence[str]]
    ) -> Sequence[Sequence[ImageDetections]]:
        """Find objects by name: one list for each vocabulary, one item for each image."""
        with autocast(self.device, precision=self.config.evaluation.precision):
            return self.method.detect(images, vocabularies)

    def propose_boxes(self, images: Sequence[Pixels]) -> Sequence[Floats]:
        """Return class-agnostic proposals [P, 4] of each image, best first."""
        with autocast(self.device, precision=self.config.evaluation.precision):
            return self.method.propose_boxes(images)


def load_model(
    url: str, *, like: RunConfig | None = None, evaluation: Mapping[str, object] | None = None
) -> LoadedModel:
    """Load a checkpoint folder; `like` gives the sections that are not the model's (text cache, evaluation).

    `evaluation` gives single settings of that section, above the others.

    Raises:
        CheckpointError: there is no such checkpoint, or it is damaged.
        ConfigError: its method does not detect objects, or is a class that only the checkpoint names.
    """
    parent, _, name = url.rstrip("/").rpartition("/")
    files = CheckpointStore(parent or ".").read(name)
    config = checkpoint_config(files, name=name)
    require_trusted_method(config.method, like, name)
    # Where its trainer kept embeddings may be any folder: nothing is written to one that only the checkpoint names.
    text = config.text.model_copy(update={"cache": like.text.cache if like is not None else None})
    config = config.model_copy(update={"text": text})
    if like is not None:
        config = config.model_copy(update={"evaluation": like.evaluation, "trainer": like.trainer})
    if evaluation:
        config = config.model_copy(update={"evaluation": config.evaluation.model_copy(update=dict(evaluation))})
    device = choose_device(config.trainer.device, threads=config.evaluation.threads)
    return model_of_files(files, name=name, config=config, device=device)


def model_of_files(files: Mapping[str, bytes], *, name: str, config: RunConfig, device: torch.device) -> LoadedModel:
    """Return the model of a checkpoint's files on a device.

    Raises:
        CheckpointError: the files do not fit the configuration.
        ConfigError: its method does not detect objects.
    """
    method = load_method(files, name=name, config=config, device=device)
    if not isinstance(method, InstanceMethod):
        raise ConfigError(f"checkpoint {name} is of method {config.method}, which does not detect instances")
    return LoadedModel(name, config, method, device)


def load_method(files: Mapping[str, bytes], *, name: str, config: RunConfig, device: torch.device) -> Method:
    """Return the method of a checkpoint's files on a device, ready to label and detect.

    Raises:
        CheckpointError: the files do not fit the configuration.
    """
    kind: Any = find_method(config.method)
    embedder = carried_embedder(files, config=config, name=name)
    base_classes = checkpoint_base_classes(files, name=name)
    # A method of somebody's own need not take one; then its encoder has to be here.
    given = {"embedder": embedder} if embedder and "embedder" in signature(kind).parameters else {}
    method: Method = kind(config, base_classes=base_classes, **given)
    method.network.to(device).eval()
    load_network(method, files, name=name)
    return method


def require_trusted_method(method: str, like: RunConfig | None, name: str) -> None:
    """Refuse a class that only the checkpoint names: it may come from anywhere, and naming a class is having it called.

    Raises:
        ConfigError: neither a method of ours nor that of the run `like`.
    """
    if ":" in method and (like is None or like.method != method):
        raise ConfigError(
            f"checkpoint {name} wants its method to be {method}, which no configuration of yours names: if you trust "
            "it, give the run with that method (--run RUN)"
        )
