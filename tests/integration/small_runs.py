"""Runs small enough for real processes to be started many times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from processes import Run

CAPTION_IMAGES = 48
SYNTHETIC = {
    "preset": "tiny",
    "settings": {
        "base_images": 8,
        "caption_images": CAPTION_IMAGES,
        "val_images": 4,
        "images_per_shard": 16,
        "image_size": 64,
        "nounless_rate": 0.1,
    },
}
SMALL: dict[str, Any] = {
    "model": {"backbone": "small", "image_size": 64, "max_image_size": 96, "num_proposals": 12, "num_rois": 16},
    "teacher": {"steps": 1, "batch_images": 2},
    "optimiser": {"learning_rate": 1e-4, "warmup_steps": 0, "schedule": "constant"},
    "queue": {"lease_ttl_s": 4.0},
    "labeler": {"batch_images": 4, "threads": 1, "teacher_poll_s": 0.3},
    "trainer": {"batch_captions": 4, "batch_base": 2, "checkpoint_every_steps": 2, "threads": 1},
    "promotion": {"every_steps": 3, "poll_s": 0.3},
    "evaluation": {"threads": 1},
    "metrics": {"port": 0},
}

MakeRun = Callable[..., Run]
