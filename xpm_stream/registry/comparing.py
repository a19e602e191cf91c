"""What differs between two checkpoints: settings, words, measures, and how far the weights of each module moved."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import safetensors

from xpm_stream.errors import CheckpointError
from xpm_stream.registry.inventory import Description, flattened

WEIGHTS: Final = "model.safetensors"
_MOST_TENSORS: Final = 24  # of a module; one with more is shown by its parts
_MOST_DEPTH: Final = 5  # components of a tensor's name
_DTYPES: Final = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}  # of weights that are compared; integers count things

Weights = dict[str, npt.NDArray[np.floating[Any]]]


class ModuleChange(msgspec.Struct, frozen=True, kw_only=True):
    """How far the weights of one module are apart."""

    module: str
    tensors: int
    parameters: int
    norm: float  # Euclidean, of A's; not finite as they are not
    change: float  # Euclidean norm of B - A; not finite as they are not
    largest: str  # the tensor that moved most relative to its norm

    @property
    def relative(self) -> float | None:
        """`change` as a share of `norm`; none: A's are all zero, or A's or B's are not finite."""
        return self.change / self.norm if self.norm > 0 and math.isfinite(self.change) else None


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """What differs from checkpoint A to checkpoint B."""

    a: str
    b: str
    config: dict[str, tuple[Any, Any]]  # dotted key -> values; none: not there
    words_added: list[str]  # in B's vocabulary only
    words_removed: list[str]
    base_added: list[str]
    base_removed: list[str]
    measures: dict[str, tuple[float | None, float | None]]  # every one that A or B has
    modules: list[ModuleChange]
    tensors_only_a: list[str]
    tensors_only_b: list[str]
    tensors_reshaped: list[str]


def compare_checkpoints(
    a: Description, b: Description, *, weights_a: Mapping[str, Any], weights_b: Mapping[str, Any]
) -> Difference:
    """Return what differs from `a` to `b`; weights are those of `read_weights`."""
    both = [name for name in weights_a if name in weights_b]
    reshaped = [name for name in both if weights_a[name].shape != weights_b[name].shape]
    config_a, config_b = flattened(a.config), flattened(b.config)
    keys = [key for key in dict.fromkeys((*config_a, *config_b)) if config_a.get(key) != config_b.get(key)]
    return Difference(
        a=a.listed.info.name,
        b=b.listed.info.name,
        config={key: (config_a.get(key), config_b.get(key)) for key in keys},
        words_added=_beyond(b.words or [], a.words or []),
        words_removed=_beyond(a.words or [], b.words or []),
        base_added=_beyond(b.base_words, a.base_words),
        base_removed=_beyond(a.base_words, b.base_words),
        measures={key: (a.measures.get(key), b.measures.get(key)) for key in dict.fromkeys((*a.measures, *b.measures))},
        modules=[
            _change(module, names, weights_a, weights_b)
            for module, names in _modules([name for name in both if name not in reshaped])
        ],
        tensors_only_a=_beyond(list(weights_a), list(weights_b)),
        tensors_only_b=_beyond(list(weights_b), list(weights_a)),
        tensors_reshaped=reshaped,
    )


def read_weights(folder: Path) -> Weights:
    """Return the floating-point tensors of a local checkpoint folder, in the order of their names.

    Raises:
        CheckpointError: it has no weights, or they are no safetensors.
    """
    try:
        data = (folder / WEIGHTS).read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(f"the checkpoint in {folder} has no {WEIGHTS}") from error
    try:
        deserialize: Any = safetensors.deserialize
        tensors = deserialize(data)
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{WEIGHTS} in {folder} cannot be read: {error}") from error
    return {name: array for name, tensor in sorted(tensors) if (array := _array(tensor)) is not None}


def _array(tensor: Mapping[str, Any]) -> npt.NDArray[np.floating[Any]] | None:
    if tensor["dtype"] == "BF16":  # NumPy has none: the upper half of a float32
        halves = np.frombuffer(tensor["data"], dtype="<u2").astype(np.uint32) << 16
        return halves.view(np.float32).reshape(tensor["shape"])
    if tensor["dtype"] not in _DTYPES:
        return None
    return np.frombuffer(tensor["data"], dtype=_DTYPES[tensor["dtype"]]).reshape(tensor["shape"])


def _modules(names: list[str], *, depth: int = 1) -> Iterator[tuple[str, list[str]]]:
    """Yield modules with their tensors: by the first parts of their names, by as many as keep modules small."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[".".join(name.split(".")[:-1][:depth]) or name].append(name)
    for module, members in groups.items():
        if len(members) > _MOST_TENSORS and depth < _MOST_DEPTH:
            yield from _modules(members, depth=depth + 1)
        else:
            yield module, members


def _change(module: str, names: list[str], a: Mapping[str, Any], b: Mapping[str, Any]) -> ModuleChange:
    norms = {name: _norm(a[name]) for name in names}
    with np.errstate(invalid="ignore"):  # of infinities, whose difference is NaN
        changes = {name: _norm(b[name].astype(np.float64) - a[name]) for name in names}
    return ModuleChange(
        module=module,
        tensors=len(names),
        parameters=sum(int(a[name].size) for name in names),
        norm=float(np.hypot.reduce(list(norms.values()))),
        change=float(np.hypot.reduce(list(changes.values()))),
        largest=max(names, key=lambda name: changes[name] / norms[name] if norms[name] > 0 else changes[name]),
    )


def _norm(array: npt.NDArray[np.floating[Any]]) -> float:
    return float(np.linalg.norm(array.astype(np.float64).ravel()))


def _beyond(these: list[str], those: list[str]) -> list[str]:
    known = set(those)
    return [one for one in these if one not in known]
