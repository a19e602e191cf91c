"""A small method with the real text encoder."""

from __future__ import annotations

import pytest
import torch
from small_pictures import BASE_CLASSES, MakeXpm  # type: ignore[import-not-found]

from xpm_stream.config import RunConfig
from xpm_stream.config.loading import parse_config
from xpm_stream.methods import find_method
from xpm_stream.methods.xpm import Xpm


@pytest.fixture
def make_xpm(tmp_path_factory: pytest.TempPathFactory) -> MakeXpm:
    """Build a small XPM method; keyword arguments are its `xpm` section."""

    def make(*, max_vocabulary: int = 50_000, backbone: str = "small", **xpm: object) -> Xpm:
        torch.manual_seed(0)
        model = {"backbone": backbone, "image_size": 64, "max_image_size": 96, "num_proposals": 10, "num_rois": 16}
        tree = {
            "text": {"cache": str(tmp_path_factory.getbasetemp() / "embeddings"), "max_vocabulary": max_vocabulary},
            "model": model,
            "xpm": xpm,
        }
        config: RunConfig = parse_config(tree, source="test")
        method = find_method(config.method)(config, base_classes=BASE_CLASSES)
        assert isinstance(method, Xpm)
        return method

    return make
