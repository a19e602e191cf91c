"""Checkpoints and the promotion log on any fsspec URL. No torch."""

from xpm_stream.registry.checkpoints import CheckpointInfo, CheckpointStore
from xpm_stream.registry.promotion_log import Action, Candidate, PromotionEntry, PromotionLog

__all__ = ["Action", "Candidate", "CheckpointInfo", "CheckpointStore", "PromotionEntry", "PromotionLog"]
