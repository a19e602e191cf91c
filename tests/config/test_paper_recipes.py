"""The recipes of the paper's experiments: they load, and hold the figures that the paper gives."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from xpm_stream.config import RunConfig, load_config
from xpm_stream.config.loading import save_resolved
from xpm_stream.config.variants import VARIANTS

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
RECIPES = {"xpm_coco": "paper", "xpm_coco_released": "released", "xpm_openimages_cc": "paper"}
# METHODS and section 4.1 of the paper, for all three.
COMMON = {
    ("model", "backbone"): "resnet50",
    ("model", "logit"): "dot",
    ("model", "background_weight"): 0.2,
    ("model", "num_rois"): 512,
    ("model", "image_size"): 800,
    ("model", "trainable_layers"): 3,
    ("text", "encoder"): "bert-base-uncased",
    ("text", "pooling"): "input_embeddings",
    ("text", "sampled_negatives"): 0,
    ("grounding", "score"): "dot",
    ("pretraining", "batch_images"): 32,
    ("teacher", "steps"): 90_000,
    ("teacher", "batch_images"): 8,
    ("teacher", "freeze_embedding"): True,
    ("xpm", "eta"): 0.01,
    ("optimiser", "name"): "sgd",
    ("optimiser", "momentum"): 0.9,
    ("optimiser", "weight_decay"): 1e-4,
    ("trainer", "steps"): 70_000,
    ("trainer", "batch_base"): 8,
    ("trainer", "horizontal_flip"): 0.5,
    ("evaluation", "score_threshold"): 0.05,
    ("evaluation", "nms_iou"): 0.5,
    ("evaluation", "max_detections"): 100,
}
OWN = {
    "xpm_coco": {("optimiser", "learning_rate"): 1e-3, ("pretraining", "steps"): 150_000},
    "xpm_coco_released": {("optimiser", "learning_rate"): 5e-4, ("pretraining", "steps"): 150_000},
    "xpm_openimages_cc": {("optimiser", "learning_rate"): 1e-3, ("pretraining", "steps"): 200_000},
}


@pytest.fixture(params=sorted(RECIPES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def config(name: str) -> RunConfig:
    return load_config(CONFIGS / f"{name}.yaml")


def test_a_recipe_resolves_to_itself(config: RunConfig, name: str, tmp_path: Path) -> None:
    assert config.name == name
    assert load_config(save_resolved(config, tmp_path)) == config


def test_a_recipe_has_the_papers_figures(config: RunConfig, name: str) -> None:
    tree = config.model_dump()
    wanted = COMMON | OWN[name]
    assert {place: tree[place[0]][place[1]] for place in wanted} == wanted
    drops = [round(share * config.teacher.steps, -3) for share in config.optimiser.step_fractions]
    assert drops == [60_000, 80_000]
    assert config.teacher.init.endswith(f"pretraining-s{config.pretraining.steps:08d}")
    enough = {"xpm_coco": 118_287, "xpm_coco_released": 118_287, "xpm_openimages_cc": 2_500_000}[name]
    assert config.data.passes * enough >= config.trainer.steps * config.trainer.batch_captions


def test_every_switch_of_the_variant_is_left_to_the_variant(config: RunConfig, name: str) -> None:
    variant = VARIANTS[RECIPES[name]]
    tree = config.model_dump()
    assert {place: tree[place[0]][place[1]] for place in variant} == dict(variant)
    written = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))
    assert not [place for place in variant if place[1] in written.get(place[0], {})]


def test_every_value_says_where_it_is_from(name: str) -> None:
    """A value from outside is marked; lines without a mark are ours or names."""
    lines = (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    values = [line for line in lines if re.match(r"  \w+: ", line) and not line.lstrip().startswith("#")]
    unmarked = [line for line in values if "#" not in line]
    allowed = ("base:", "val:", "schedule_steps:")
    assert not [line for line in unmarked if not line.lstrip().startswith(allowed)]
