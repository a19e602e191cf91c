"""The weights of pretraining's multimodal layers: a file of their own in its checkpoints, which no teacher reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import safetensors
import safetensors.torch

from xpm_stream.errors import CheckpointError
from xpm_stream.methods.caption_reading import CaptionReader

_MULTIMODAL: Final = "multimodal.safetensors"


def multimodal_file(reader: CaptionReader | None) -> dict[str, bytes]:
    """Return the file of the layers' weights; nothing where there are no such layers."""
    if reader is None:
        return {}
    weights = {name: value.detach().cpu().contiguous() for name, value in reader.network.state_dict().items()}
    return {_MULTIMODAL: safetensors.torch.save(weights, metadata={"format": "pt"})}


def load_multimodal(reader: CaptionReader | None, files: Mapping[str, bytes], *, name: str) -> None:
    """Take the weights up again; `name` is the checkpoint's name in errors.

    Raises:
        CheckpointError: the checkpoint has such layers and this pretraining has not, or the other way round, or they
            are of another shape.
    """
    remedy = "restore the keys of the section pretraining it was written with, or begin in another folder"
    if (reader is None) != (_MULTIMODAL not in files):
        found, wanted = ("no", "some") if reader else ("some", "none")
        raise CheckpointError(
            f"checkpoint {name} has {found} multimodal layers, but pretraining.multimodal_layers asks for {wanted}: "
            f"{remedy}"
        )
    if reader is None:
        return
    try:
        reader.network.load_state_dict(safetensors.torch.load(files[_MULTIMODAL]))
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"checkpoint {name} has other multimodal layers: {remedy} ({error})") from error
