"""A registry with a small model, loaded, and a photo for it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_models import WriteModel, promote_small_model  # type: ignore[import-not-found]

import xpm_stream
from xpm_stream.stages.predicting import Predictor


@pytest.fixture(scope="session", autouse=True)
def own_caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The user's cache folder, for the time of these tests."""
    folder = tmp_path_factory.mktemp("user")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        patch.delenv("XPM_STREAM_CACHE", raising=False)
        yield folder


@pytest.fixture(scope="session")
def write_model(tmp_path_factory: pytest.TempPathFactory) -> WriteModel:
    """Write a checkpoint into a registry and promote it; keyword arguments are sections of its configuration."""
    return partial(promote_small_model, text_cache=tmp_path_factory.mktemp("embeddings"))


@pytest.fixture(scope="session")
def registry(write_model: WriteModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("run") / "registry")


@pytest.fixture(scope="session")
def model(registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return xpm_stream.load(registry, device="cpu", cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PNG of 70 x 50 pixels, smooth enough to be told from its mirror image."""
    rows, columns = np.mgrid[0:50, 0:70]
    pixels = np.stack([columns * 3, rows * 5, (rows + columns) % 40 * 6], axis=2).astype(np.uint8)
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    Image.fromarray(pixels).save(path)
    return path
