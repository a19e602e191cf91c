"""A step of each recipe of the paper, with all of its switches, on a small network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_methods_of import BASE, IMAGES, rng, with_labels  # type: ignore[import-not-found]
from small_pictures import BASE_CLASSES, caption_image  # type: ignore[import-not-found]

from xpm_stream.config import load_config
from xpm_stream.methods.xpm import Xpm
from xpm_stream.stages.optimisation import Optimisation

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SMALL = (
    "text.encoder=minilm",
    "model.weights=null",
    "model.backbone=small",
    "model.image_size=64",
    "model.max_image_size=96",
    "model.num_proposals=10",
    "model.num_rois=16",
)


@pytest.mark.parametrize("name", ["xpm_coco", "xpm_coco_released", "xpm_openimages_cc"])
def test_a_recipe_learns_from_labels_of_its_first_teacher(name: str, tmp_path: Path) -> None:
    config = load_config(CONFIGS / f"{name}.yaml", overrides=[*SMALL, f"text.cache={tmp_path}"])
    torch.manual_seed(0)
    teacher, student = (Xpm(config, base_classes=BASE_CLASSES) for _ in range(2))
    optimisation = Optimisation(student.network, config=config.optimiser, total_steps=config.trainer.steps)
    before = {key: value.clone() for key, value in student.network.state_dict().items()}
    for images in (IMAGES, [caption_image(3, words=["umbrella"])]):  # the second step meets a new word
        student.note_words([image.words for image in images])
        batch = student.collate(with_labels(images, teacher.label(images)), BASE, rng=rng())
        losses = student.losses(batch)
        assert float(losses["cross_modal"].detach()) > 0
        optimisation.step(losses)
    changed = {key for key, value in student.network.state_dict().items() if not torch.equal(value, before[key])}
    assert any(key.startswith("backbone") for key in changed) != config.xpm.frozen_trunk
    assert any("embedding" in key for key in changed)
