"""Detection engines behind one Protocol, in one visible lazy table: nothing is imported until one is asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xpm_stream.config.network_sections import ModelConfig
    from xpm_stream.engines.base import DetectionEngine

# `model.engine` of the configuration names one; its choices are in the schema.
ENGINES = {
    "torchvision": "xpm_stream.engines.torchvision_rcnn:TorchvisionRcnn",
}


def build_engine(config: ModelConfig, *, text_dimension: int) -> DetectionEngine:
    """Build the engine that `config.engine` names, embedding regions in `text_dimension` numbers."""
    module_name, _, class_name = ENGINES[config.engine].partition(":")
    engine: DetectionEngine = getattr(importlib.import_module(module_name), class_name)(
        config, text_dimension=text_dimension
    )
    return engine
