"""A small method of the real kind, and its checkpoint's files."""

from __future__ import annotations

import pytest
import torch
from small_methods import BASE_CLASSES, MakeConfig, MakeMethod

from xpm_stream.config import RunConfig
from xpm_stream.config.loading import parse_config
from xpm_stream.methods import find_method
from xpm_stream.methods.base import Method


@pytest.fixture(scope="session")
def make_config(tmp_path_factory: pytest.TempPathFactory) -> MakeConfig:
    """Make a configuration of a small model; keyword arguments are keys of its `model` section."""
    cache = str(tmp_path_factory.mktemp("embeddings"))

    def make(**model: object) -> RunConfig:
        small = {"backbone": "small", "image_size": 64, "max_image_size": 96, "num_proposals": 10, "num_rois": 16}
        tree = {"text": {"cache": cache}, "model": {**small, **model}, "labeler": {"teacher_poll_s": 1e-9}}
        return parse_config(tree, source="test")

    return make


@pytest.fixture(scope="session")
def make_method(make_config: MakeConfig) -> MakeMethod:
    """Make a method with weights of its seed."""

    def make(*, seed: int = 0, **model: object) -> Method:
        torch.manual_seed(seed)
        config = make_config(**model)
        return find_method(config.method)(config, base_classes=BASE_CLASSES)

    return make
