"""Small methods of any name, and what the tests of visual and weakly supervised methods share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from small_pictures import BASE_CLASSES, base_image, caption_image  # type: ignore[import-not-found]
from torch import Tensor, nn

from xpm_stream.config import RunConfig
from xpm_stream.config.loading import parse_config
from xpm_stream.methods import find_method
from xpm_stream.methods.base import CaptionImage, LabelledImage
from xpm_stream.methods.teacher_student import TeacherStudent
from xpm_stream.records import InstanceAnnotation

TARGET_CLASSES = ["traffic light", "kite"]
BASE = [base_image([(5, 5, 30, 30), (30, 10, 55, 50)]), base_image([])]
IMAGES = [
    caption_image(0, words=["dog", "tree", "traffic light"]),
    caption_image(1, words=["tree"], size_hw=(90, 40)),
    caption_image(2, words=["kite"], size_hw=(64, 64)),
]


def small_config(name: str, folder: Path, **section: Any) -> RunConfig:
    """A configuration of method `name`; keyword arguments are its own section. `folder` is for caches."""
    split = folder / "split.json"
    split.write_text(json.dumps({"base": BASE_CLASSES, "target": TARGET_CLASSES}))
    tree = {
        "method": name,
        "data": {"split": {"file": str(split)}},
        "text": {"cache": str(folder / "embeddings")},
        "model": {"backbone": "small", "image_size": 64, "max_image_size": 96, "num_proposals": 10, "num_rois": 16},
        name: section,
    }
    return parse_config(tree, source="test")


def small_method(name: str, folder: Path, **section: Any) -> TeacherStudent:
    torch.manual_seed(0)
    config = small_config(name, folder, **section)
    method = find_method(name)(config, base_classes=BASE_CLASSES)
    assert isinstance(method, TeacherStudent)
    return method


def labelled(method: TeacherStudent, images: Sequence[CaptionImage] = IMAGES) -> list[LabelledImage]:
    return with_labels(images, [_instances(one) for one in method.label(images)])


def with_labels(images: Sequence[CaptionImage], annotations: Sequence[InstanceAnnotation]) -> list[LabelledImage]:
    return [
        LabelledImage(sample=image.sample, pixels=image.pixels, words=image.words, annotation=annotation)
        for image, annotation in zip(images, annotations, strict=True)
    ]


def without_instances(images: Sequence[CaptionImage] = IMAGES) -> list[LabelledImage]:
    return with_labels(images, [InstanceAnnotation(instances=[])] * len(images))


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def moved_by(network: nn.Module, loss: Tensor) -> set[str]:
    """Return the parts of the network whose parameters get a gradient that is not zero."""
    network.zero_grad(set_to_none=True)
    loss.backward(retain_graph=True)  # type: ignore[no-untyped-call]
    return {
        part_of(name)
        for name, parameter in network.named_parameters()
        if parameter.grad is not None and bool((parameter.grad != 0).any())
    }


def part_of(name: str) -> str:
    """`rpn.inner.head.bbox_pred.weight` -> `rpn.bbox_pred`; heads by their layer, the backbone as a whole."""
    first, *rest = name.split(".")
    if first == "backbone":
        return first
    if first == "rpn":
        return next((f"rpn.{layer}" for layer in ("bbox_pred", "cls_logits") if layer in rest), "rpn.conv")
    return f"{first}.{rest[0]}"


def _instances(annotation: object) -> InstanceAnnotation:
    assert isinstance(annotation, InstanceAnnotation)
    return annotation
