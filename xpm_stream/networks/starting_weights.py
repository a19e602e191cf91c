"""Pretrained weights of torchvision's ResNets: by name, or from a safetensors file; fetched only when asked for."""

from __future__ import annotations

from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import get_model_weights

from xpm_stream.errors import ConfigError

_CLASSIFIER = ("fc.weight", "fc.bias")


def load_resnet_weights(body: nn.Module, weights: str, *, backbone: str) -> None:
    """Fill a torchvision ResNet body from `weights`: a name such as IMAGENET1K_V2, or a .safetensors file.

    A name is looked up in torch's hub cache first and fetched from download.pytorch.org only if it is not there.

    Raises:
        ConfigError: there is no such name, it cannot be fetched, or its tensors do not fit.
    """
    state = _read_file(Path(weights)) if weights.endswith(".safetensors") else _fetch_named(weights, backbone=backbone)
    for name in _CLASSIFIER:
        state.pop(name, None)
    try:
        result = body.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ConfigError(f"model.weights {weights!r} do not fit model.backbone {backbone!r}: {error}") from error
    missing = [name for name in result.missing_keys if not name.endswith("num_batches_tracked")]
    if missing or result.unexpected_keys:
        strange = ", ".join([*missing, *result.unexpected_keys][:5])
        raise ConfigError(
            f"model.weights {weights!r} do not fit model.backbone {backbone!r}; first differences: {strange}"
        )


def _read_file(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"model.weights: cannot read {path}: {error}") from error


def _fetch_named(name: str, *, backbone: str) -> dict[str, Tensor]:
    known = get_model_weights(backbone)
    if name not in known.__members__:
        raise ConfigError(
            f"model.weights {name!r} is not known for {backbone} (known: {', '.join(known.__members__)}; "
            "or give a .safetensors file, or null to start from scratch)"
        )
    try:
        state: dict[str, Tensor] = known[name].get_state_dict(progress=False, check_hash=True)
    except (URLError, HTTPException, OSError, RuntimeError) as error:
        raise ConfigError(
            f"model.weights {name!r} are not in torch's hub cache and cannot be fetched ({error}); give a .safetensors "
            "file, put the weights into the cache, or set model.weights to null to start from scratch"
        ) from error
    return state
