"""Fixtures shared by all tests."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def coco_tiny() -> Path:
    """The folder of real COCO images, masks and captions that lies beside the repository."""
    folder = REPOSITORY.parent / "shared" / "data" / "coco_tiny"
    if not folder.is_dir():
        pytest.skip("real COCO images are not here: put coco_tiny at ../shared/data/coco_tiny")
    return folder


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Undo `configure_logging()`: a role that ran in this process leaves its handlers, on a stream of its test."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    left = [handler for handler in root.handlers if handler not in handlers]
    if not left:
        return
    for handler in left:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()
