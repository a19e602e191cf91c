"""A method's network and state as the files of a checkpoint, and back. Weights are safetensors; the rest is JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import safetensors
import safetensors.torch
from torch import Tensor, nn

from xpm_stream.config import RunConfig
from xpm_stream.config.loading import parse_config
from xpm_stream.errors import CheckpointError
from xpm_stream.methods.base import Method, WordCarrier
from xpm_stream.networks.carried_embeddings import CarriedEmbedder, CarriedEmbeddings
from xpm_stream.networks.class_embeddings import WordEmbedder
from xpm_stream.networks.text_encoder import TextEmbedder

WEIGHTS, CONFIG, STATE, CLASSES = "model.safetensors", "config.json", "vocabulary.json", "classes.json"
EMBEDDINGS = "class_embeddings.safetensors"
LOADED_FILES = frozenset({WEIGHTS, CONFIG, STATE})  # what `load_network` needs
NETWORK_FILES = LOADED_FILES | {CLASSES, EMBEDDINGS}  # what brings back a method


def network_files(
    method: Method,
    *,
    config: RunConfig,
    base_classes: list[str],
    weights: Mapping[str, Tensor] | None = None,
) -> dict[str, bytes]:
    """Return the files that bring a network back: weights (the network's own, or `weights`), config, words, classes."""
    tensors = weights if weights is not None else method.network.state_dict()
    saved = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    return {
        WEIGHTS: safetensors.torch.save(saved, metadata={"format": "pt"}),
        # Checkpoints are handed to others; the URL may hold a password.
        CONFIG: json.dumps(config.model_dump(mode="json", exclude={"redis": {"url"}}), indent=1).encode(),
        STATE: json.dumps(method.state()).encode(),
        CLASSES: json.dumps({"base": base_classes}).encode(),
    }


def embedding_files(method: Method, *, config: RunConfig) -> dict[str, bytes]:
    """Return the text embeddings of the words a method knows, for a checkpoint that others use; nothing without words.

    Not for checkpoints to resume from: where training goes on, the encoder is there.
    """
    if not isinstance(method, WordCarrier):
        return {}
    words, rows = method.class_embeddings()
    encoder = TextEmbedder(config.text)
    carried = CarriedEmbeddings(
        words=words,
        rows=rows,
        encoder=config.text.encoder,
        pooling=encoder.pooling,
        fingerprint=encoder.fingerprint,
    )
    return {EMBEDDINGS: carried.encode()}


def carried_embedder(files: Mapping[str, bytes], *, config: RunConfig, name: str) -> WordEmbedder | None:
    """Return what embeds words with the embeddings a checkpoint carries; none for one that carries none.

    Raises:
        CheckpointError: they are damaged.
    """
    if EMBEDDINGS not in files:
        return None
    carried = CarriedEmbeddings.decode(files[EMBEDDINGS], source=f"{EMBEDDINGS} of checkpoint {name}")
    return CarriedEmbedder(carried, config.text, name=name)


def load_network(method: Method, files: Mapping[str, bytes], *, name: str) -> None:
    """Load weights and state into a method of the same architecture; `name` is the checkpoint's name in errors.

    Raises:
        CheckpointError: a file is missing or unreadable, or the weights belong to another architecture.
    """
    try:
        tensors = safetensors.torch.load(files[WEIGHTS])
        state = msgspec.json.decode(files[STATE])
    except KeyError as error:
        raise CheckpointError(f"checkpoint {name} lacks the file {error}") from error
    except (safetensors.SafetensorError, msgspec.DecodeError) as error:
        raise CheckpointError(f"checkpoint {name} cannot be read: {error}") from error
    _check_architecture(method.network, tensors, files=files, name=name)
    method.network.load_state_dict(tensors)
    method.load_state(state)


def checkpoint_config(files: Mapping[str, bytes], *, name: str) -> RunConfig:
    """Return the configuration a checkpoint was written with."""
    try:
        tree = json.loads(files[CONFIG])
    except (KeyError, ValueError, RecursionError) as error:
        raise CheckpointError(f"checkpoint {name} has no readable {CONFIG}: {error}") from error
    return parse_config(tree, source=f"{name}/{CONFIG}")


def checkpoint_base_classes(files: Mapping[str, bytes], *, name: str) -> list[str]:
    """Return the base classes a checkpoint was trained with."""
    try:
        return msgspec.json.decode(files[CLASSES], type=dict[str, list[str]])["base"]
    except (KeyError, msgspec.MsgspecError) as error:
        raise CheckpointError(f"checkpoint {name} has no readable {CLASSES}: {error}") from error


def checkpoint_words(files: Mapping[str, bytes], *, name: str) -> list[str]:
    """Return all words a checkpoint learned, by index; none of a method without a vocabulary."""
    try:
        state = msgspec.json.decode(files[STATE], type=dict[str, Any])
        return [str(word) for word in state.get("vocabulary", {}).get("words", [])]
    except (KeyError, AttributeError, TypeError, msgspec.MsgspecError) as error:
        raise CheckpointError(f"checkpoint {name} has no readable {STATE}: {error}") from error


def _check_architecture(
    network: nn.Module, tensors: Mapping[str, Tensor], *, files: Mapping[str, bytes], name: str
) -> None:
    ours = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    theirs = {key: tuple(value.shape) for key, value in tensors.items()}
    if ours == theirs:
        return
    key = sorted(set(ours.items()) ^ set(theirs.items()))[0][0]
    model: Any = json.loads(files[CONFIG]).get("model", {}) if CONFIG in files else {}
    shown = ", ".join(f"{option}: {value}" for option, value in model.items())
    raise CheckpointError(
        f"checkpoint {name} is of another architecture: {key} is {theirs.get(key, 'absent')} there and "
        f"{ours.get(key, 'absent')} here; it was written with model: {{{shown}}}: set the same model section, "
        "or choose another checkpoint"
    )
