"""Streaming, continual self-training for open-vocabulary segmentation.

`xpm_stream.load(URL)` brings a promoted checkpoint here, ready to find objects by name: see docs/predicting.md.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from xpm_stream.version import __version__

if TYPE_CHECKING:
    import torch

    from xpm_stream.registry.pulling import PullProgress
    from xpm_stream.stages.predicting import Predictor

__all__ = ["__version__", "load"]


def load(
    url_or_path: str | Path,
    revision: str | int = "champion",
    device: str | torch.device | None = None,
    *,
    cache: str | Path | None = None,
    on_progress: Callable[[PullProgress], None] | None = None,
) -> Predictor:
    """Return a checkpoint as a model that finds objects by name.

    Args:
        url_or_path: a run folder, a registry's URL, or the folder of one checkpoint, on any fsspec URL.
        revision: `champion`, the number of an entry of the promotion log, or a checkpoint's name.
        device: `cpu`, `cuda`, `cuda:N`; none: a CUDA device if there is one.
        cache: folder the checkpoint is kept in; none: the user's cache folder.
        on_progress: called with how far the pull is.

    Raises:
        RegistryError: the URL is no registry and no checkpoint, or has no such revision.
        CheckpointError: the checkpoint is removed or damaged, or does not fit this release.
        ConfigError: there is no such device, or the checkpoint's method does not find objects.
        TextError: the checkpoint carries no embeddings, and its text encoder is not here.
    """
    from xpm_stream.stages.predicting import load_predictor  # torch only now

    return load_predictor(url_or_path, revision=revision, device=device, cache=cache, on_progress=on_progress)
