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
    "promotion": {
        "every_steps": 3,
        "poll_s": 0.3,
        # Measured like any other's, but what a student of a few steps does is arbitrary.
        "gates": {
            "held_out_images": 4,
            "canary_images": 4,
            "max_base_ap50_drop": 100.0,
            "min_canary_agreement": 0.0,
            "min_label_ratio": 0.0,
            "max_label_ratio": 1e9,
            "min_entropy_ratio": 0.0,
            "max_reliability_drop": 1.0,
        },
    },
    "evaluation": {"threads": 1},
    "metrics": {"port": 0},
}

MakeRun = Callable[..., Run]
