"""The workload both region benchmarks share: random pictures, boxes and words; machine facts; interleaved timing."""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from xpm_stream.config import RunConfig
from xpm_stream.config.loading import parse_config
from xpm_stream.data.base_set import BaseImage
from xpm_stream.masks import encode_rle
from xpm_stream.methods import find_method
from xpm_stream.methods.base import CaptionImage
from xpm_stream.methods.xpm import Xpm
from xpm_stream.records import SampleId, ShardId
from xpm_stream.stages.devices import autocast

BASE_CLASSES = ["dog", "car", "cup", "chair", "boat", "tree", "clock", "bottle"]
CAPTION_WORDS = ["dog", "car", "cup", "kite", "umbrella", "guitar", "sofa", "lamp", "boot", "rocket"]
OBJECTS_AN_IMAGE = 3


def parse_arguments(description: str, given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line of both benchmarks; `given` instead of the process's own."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--backbone", default="small", help="small, resnet18, resnet50 or resnet101")
    parser.add_argument("--image-size", type=int, default=160)
    parser.add_argument("--images", type=int, default=16, help="caption images a batch (and base images in training)")
    parser.add_argument("--proposals", type=int, default=40)
    parser.add_argument("--rois", type=int, default=32)
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; 0: torch's default")
    return parser.parse_args(given)


def build_method(arguments: argparse.Namespace, *, device: torch.device, text: dict[str, object] | None = None) -> Xpm:
    """An XPM method of the size asked for; `text` sets keys of that section."""
    config: RunConfig = parse_config(
        {
            "text": text or {},
            "model": {
                "backbone": arguments.backbone,
                "image_size": arguments.image_size,
                "max_image_size": arguments.image_size,
                "num_proposals": arguments.proposals,
                "num_rois": arguments.rois,
                "roi_sampling_ratio": 1,
            },
        },
        source="benchmark",
    )
    torch.manual_seed(0)
    method = find_method("xpm")(config, base_classes=BASE_CLASSES)
    assert isinstance(method, Xpm)
    method.network.to(device)
    return method


def caption_images(number: int, *, size: int) -> list[CaptionImage]:
    """Random pictures with three nouns each."""
    rng = np.random.default_rng(0)
    return [
        CaptionImage(
            sample=SampleId(0, ShardId("s"), index),
            pixels=rng.integers(0, 256, (size, size, 3), dtype=np.uint8),
            words=[str(word) for word in rng.choice(CAPTION_WORDS, OBJECTS_AN_IMAGE, replace=False)],
            captions=[],
        )
        for index in range(number)
    ]


def base_images(number: int, *, size: int) -> list[BaseImage]:
    """Random pictures with three annotated rectangles each."""
    rng = np.random.default_rng(1)
    images = []
    for index in range(number):
        corners = rng.integers(0, size // 2, (OBJECTS_AN_IMAGE, 2))
        sides = rng.integers(size // 5, size // 2, (OBJECTS_AN_IMAGE, 2))
        boxes = np.concatenate([corners, corners + sides], axis=1)
        masks = np.zeros((OBJECTS_AN_IMAGE, size, size), dtype=np.uint8)
        for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
            mask[y0:y1, x0:x1] = 1
        images.append(
            BaseImage(
                image_id=index,
                pixels=rng.integers(0, 256, (size, size, 3), dtype=np.uint8),
                boxes_xyxy=boxes.astype(np.float32),
                class_names=[str(word) for word in rng.choice(BASE_CLASSES, OBJECTS_AN_IMAGE)],
                is_crowd=np.zeros(OBJECTS_AN_IMAGE, dtype=np.bool_),
                rles=[encode_rle(mask) for mask in masks],
            )
        )
    return images


def time_interleaved(
    contenders: Sequence[Callable[[], object]], *, repetitions: int, device: torch.device, precision: str
) -> list[list[float]]:
    """Seconds of each contender in each round, taken in turns so that a busy machine slows all alike."""
    seconds: list[list[float]] = [[] for _ in contenders]
    with autocast(device, precision=precision):  # type: ignore[arg-type]  # argparse checked the choice
        for repetition in range(repetitions + 2):
            for contender, taken in zip(contenders, seconds, strict=True):
                started = time.perf_counter()
                contender()
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                if repetition >= 2:  # the first rounds warm caches and kernels
                    taken.append(time.perf_counter() - started)
    return seconds


def print_machine(device: torch.device, *, precision: str) -> None:
    """One line that a reader needs to judge the figures."""
    processor = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU"
    if device.type == "cpu":
        processor = str(torch.cpu.get_capabilities().get("cpu_name") or processor)
    print(
        f"machine: {processor}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"Python {platform.python_version()}, precision {precision}"
    )
