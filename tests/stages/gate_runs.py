"""A small run with all that gates measure on: shards, held-out images, and checkpoints of a real small network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from xpm_stream.config import RunConfig
from xpm_stream.config.loading import parse_config
from xpm_stream.data.synthetic import CorpusPaths, write_corpus
from xpm_stream.data.synthetic.corpus_config import SyntheticConfig
from xpm_stream.methods import find_method
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.stages.network_files import network_files
from xpm_stream.stages.preparation import synthetic_data

CANARY_IMAGES = 12
HELD_OUT_IMAGES = 6
# An untrained network's figures are arbitrary: only what a test is about may refuse.
LENIENT = {
    "max_base_ap50_drop": 100.0,
    "min_canary_agreement": 0.0,
    "min_label_ratio": 0.0,
    "max_label_ratio": 1e9,
    "min_entropy_ratio": 0.0,
    "max_reliability_drop": 1.0,
}


def draw_corpus(folder: Path) -> CorpusPaths:
    """Two shards of 16 captioned images, and ten held-out images."""
    preset = SyntheticConfig(
        base_images=4,
        caption_images=32,
        val_images=10,
        images_per_shard=16,
        image_size=64,
        base_classes=14,
        target_classes=6,
        unannotated_classes=4,
    )
    return write_corpus(folder, preset=preset, seed=0, workers=1)


def gate_config(folder: Path, corpus: CorpusPaths, *, cache: Path, **gates: Any) -> RunConfig:
    """A run's configuration; `gates` replace the lenient limits."""
    tree = {
        "folder": str(folder),
        "text": {"cache": str(cache)},
        "model": {"backbone": "small", "image_size": 64, "max_image_size": 64, "num_proposals": 10, "num_rois": 16},
        "promotion": {
            "gates": {"canary_images": CANARY_IMAGES, "held_out_images": HELD_OUT_IMAGES, **LENIENT, **gates}
        },
        "metrics": {"enabled": False},
        "evaluation": {"threads": 1},
    }
    config = parse_config(tree, source="test")
    return config.model_copy(update={"data": synthetic_data(config.data, corpus)})


def write_checkpoint(config: RunConfig, name: str, *, seed: int, base_classes: Sequence[str]) -> None:
    """A candidate's checkpoint with random weights."""
    torch.manual_seed(seed)
    method = find_method(config.method)(config, base_classes=base_classes)
    store = CheckpointStore(f"{config.folder}/registry/checkpoints")
    store.write(name, network_files(method, config=config, base_classes=base_classes))
