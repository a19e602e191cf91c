"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def coco_tiny() -> Path:
    """The folder of real COCO images, masks and captions that lies beside the repository."""
    folder = REPOSITORY.parent / "shared" / "data" / "coco_tiny"
    if not folder.is_dir():
        pytest.skip("real COCO images are not here: put coco_tiny at ../shared/data/coco_tiny")
    return folder
