"""What is held to golden losses: every method, every weighting and variant of XPM, on one small network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from xpm_stream.config import RunConfig
from xpm_stream.config.loading import parse_config
from xpm_stream.data.synthetic import CorpusPaths

_COMMON: Final[Mapping[str, Any]] = {
    "model": {"backbone": "small", "image_size": 64, "max_image_size": 64, "num_proposals": 12, "num_rois": 16},
    # So low because a young network is chaotic: at 1e-3 a rounding error grows to the losses' own size in 20 steps.
    "optimiser": {"learning_rate": 1e-5, "warmup_steps": 4, "schedule": "cosine"},
    "promotion": {"every_steps": 2},  # eta is measured anew this often: within the steps that are held tightly
    "grounding": {"window_fractions": [0.5], "max_regions": 12},
}
# What an untrained teacher is sure of is little: so low that labels hold instances, proposals, and reliable boxes.
_UNSURE: Final = {"score_threshold": 0.06, "max_instances": 4, "num_proposals": 8}

# By name: what is set beside _COMMON. A new method, weighting or variant gets a line here (a test asks for it).
ARMS: Final[Mapping[str, Mapping[str, Any]]] = {
    "xpm_none": {"xpm": {"weighting": "none"}},
    "xpm_stochastic": {"xpm": {"weighting": "stochastic"}},
    # Over all of V_C words meet at regions, so that the exclusive assignment has to part them.
    "xpm_class_score": {"xpm": {"weighting": "class_score", "assignment_context": "vocabulary"}},
    "xpm_pixel_score": {"xpm": {"weighting": "pixel_score"}},
    "xpm_dropout_entropy": {"xpm": {"weighting": "dropout_entropy"}},
    # A young noise head says much the same everywhere: at a low quantile alpha would be about 1, and never limited.
    "xpm_robust": {"xpm": {"weighting": "robust", "eta_quantile": 0.5}},
    "xpm_label": {"xpm": {"weighting": "label"}},
    # Reliability that follows what was labelled before, so that later batches hold its running statistics too.
    "xpm_label_within_word": {"xpm": {"weighting": "label_within_word", "reliability": "standardised"}},
    "xpm_label_annealed": {"xpm": {"weighting": "label_annealed"}},
    "xpm_paper": {"xpm": {"variant": "paper"}},
    "xpm_released": {"xpm": {"variant": "released"}},
    "soft_teacher": {
        "method": "soft_teacher",
        "soft_teacher": {**_UNSURE, "box_score_threshold": 0.05, "max_box_deviation": 1.0},
    },
    "unbiased_teacher": {"method": "unbiased_teacher", "unbiased_teacher": _UNSURE},
    "cap2det": {"method": "cap2det", "cap2det": {"num_proposals": 8}},
    "ovr": {"method": "ovr", "teacher": {"grounding_weight": 0.5}},
    "ovr_pretraining": {"method": "ovr"},
    "sb": {"method": "sb"},
    "ba_rpn": {"method": "ba_rpn"},
    "omp": {"method": "omp"},
}
# These learn from captions alone, as `xpm-stream pretrain` does.
PRETRAINING_ARMS: Final = frozenset({"ovr_pretraining"})


def arm_config(name: str, *, corpus: CorpusPaths) -> RunConfig:
    """The configuration of an arm; embeddings are cached beside the corpus."""
    data = {
        "shards": [corpus.caption_shards],
        "split": {"file": str(corpus.split)},
        "base": {"annotations": str(corpus.base_annotations), "images": str(corpus.base_images)},
    }
    text = {"cache": str(corpus.folder / "embeddings")}
    return parse_config({**_COMMON, **ARMS[name], "data": data, "text": text}, source=f"golden arm {name}")
