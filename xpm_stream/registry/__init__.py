"""Checkpoints and the promotion log on any fsspec URL. No torch."""

from xpm_stream.registry.cache import CheckpointCache
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.registry.manifest import CheckpointInfo
from xpm_stream.registry.model_card import Lineage, ModelCard, Parent, render_model_card
from xpm_stream.registry.promotion_log import Action, Candidate, PromotionEntry, PromotionLog

__all__ = [
    "Action",
    "Candidate",
    "CheckpointCache",
    "CheckpointInfo",
    "CheckpointStore",
    "Lineage",
    "ModelCard",
    "Parent",
    "PromotionEntry",
    "PromotionLog",
    "render_model_card",
]
