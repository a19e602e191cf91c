"""A small model in a registry: untrained, so that its scores are all alike, and right in everything else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from xpm_stream.config.loading import parse_config
from xpm_stream.label_queue import TrainedLedger
from xpm_stream.methods import find_method
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.registry.promotion_log import PromotionLog
from xpm_stream.stages.model_cards import student_card
from xpm_stream.stages.network_files import embedding_files, network_files
from xpm_stream.stages.training_state import TrainingState

BASE_CLASSES = ["dog", "car", "cup"]
CAPTION_WORDS = ["umbrella", "kite"]

WriteModel = Callable[..., Path]


def promote_small_model(
    root: Path, *, text_cache: Path, name: str = "student-e1-s8", carried: bool = True, **sections: object
) -> Path:
    """Write a checkpoint into a registry and promote it; more arguments are sections of its configuration."""
    torch.manual_seed(0)
    model = {"backbone": "small", "image_size": 64, "max_image_size": 96, "num_proposals": 10, "num_rois": 16}
    evaluation = {"batch_images": 4, "threads": 1}
    tree = {"text": {"cache": str(text_cache)}, "model": model, "evaluation": evaluation, **sections}
    config = parse_config(tree, source="test")
    method = find_method(config.method)(config, base_classes=BASE_CLASSES)
    method.note_words([CAPTION_WORDS])
    files = network_files(method, config=config, base_classes=BASE_CLASSES)
    if carried:
        files |= embedding_files(method, config=config)
    state = TrainingState(step=8, epoch=1, samples_trained=32)
    files |= student_card(
        name,
        config=config,
        base_classes=len(BASE_CLASSES),
        state=state,
        ledger=TrainedLedger(),
        promotions=PromotionLog(root),
        caption_words=len(CAPTION_WORDS),
    )
    CheckpointStore(root / "checkpoints").write(name, files, order=(1, 8))
    PromotionLog(root).append("promote", by="test", checkpoint=name)
    return root
