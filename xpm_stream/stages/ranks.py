"""The processes of one trainer: one alone, or the ranks that torchrun (or any launcher with its variables) started.

What ranks agree on travels as msgpack over gloo, gradients over NCCL where they are on CUDA. Nothing is pickled.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Final, TypeVar

import msgspec
import torch
from torch import Tensor, distributed, nn
from torch.distributed.rendezvous import rendezvous

from xpm_stream.errors import ConfigError, TrainingError

T = TypeVar("T")
_RANK: Final = "RANK"
_SIZE: Final = "WORLD_SIZE"


def rank_of_process() -> int:
    """Return this process's number among the ranks, 0 where there is no launcher."""
    return _variable(_RANK, 0)


class Ranks:
    """One rank's view of the trainer; every method is called by all ranks in the same order."""

    def __init__(self, *, number: int = 0, size: int = 1) -> None:
        self.number = number
        self.size = size

    @property
    def first(self) -> bool:
        """Whether this rank writes checkpoints, proposes teachers, and speaks for all."""
        return self.number == 0

    def share(self, value: T) -> list[T]:
        """Return every rank's value, by rank; values are what msgpack can carry.

        Raises:
            TrainingError: a rank is gone.
        """
        if self.size == 1:
            return [value]
        kind = type(value)
        return [msgspec.msgpack.decode(data, type=kind) for data in self._gather(msgspec.msgpack.encode(value))]

    def from_first(self, make: Callable[[], T], *, kind: type[T]) -> T:
        """Return what rank 0 makes; an error it raises there ends it, and by that every other rank.

        Raises:
            TrainingError: rank 0 is gone.
        """
        if self.size == 1:
            return make()
        made = msgspec.msgpack.encode(make()) if self.first else b""
        return msgspec.msgpack.decode(self._gather(made)[0], type=kind)

    @torch.no_grad()
    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Set each gradient to its mean over all ranks; a rank without a batch counts as zeros.

        So every sample weighs the same in a step, however full the ranks are (as in DistributedDataParallel.join). A
        parameter that no rank has a gradient for keeps none.

        Raises:
            TrainingError: a rank is gone.
        """
        if self.size == 1:
            return
        present = torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device)
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([present, *(part.reshape(-1).float() for part in parts)])
        self._checked(lambda: distributed.all_reduce(flat))
        owners, *means = torch.split(flat, [len(parts), *(part.numel() for part in parts)])
        for parameter, has_gradient, mean in zip(parameters, owners.tolist(), means, strict=True):
            parameter.grad = (mean / self.size).view_as(parameter).to(parameter.dtype) if has_gradient else None

    def require_equal(self, parameters: Sequence[nn.Parameter]) -> None:
        """Check that all ranks hold the same weights.

        Raises:
            TrainingError: they have drifted apart, so that a checkpoint would hold only what rank 0 learnt.
        """
        if self.size == 1:
            return
        with torch.no_grad():
            mine = float(torch.stack([p.double().sum() for p in parameters]).sum())
        sums = self.share(mine)
        # Not bit for bit: ranks may sit on unlike devices, whose rounding differs.
        if any(abs(value - sums[0]) > 1e-3 * max(1.0, abs(sums[0])) for value in sums):
            raise TrainingError(
                f"the ranks' weights have drifted apart (sums {', '.join(f'{value:.6g}' for value in sums)}): "
                "nothing was written; start the trainer again from the last checkpoint"
            )

    def _gather(self, data: bytes) -> list[bytes]:
        size = torch.tensor([len(data)])
        sizes = [torch.zeros_like(size) for _ in range(self.size)]
        self._checked(lambda: distributed.all_gather(sizes, size))
        lengths = [int(found) for found in sizes]
        mine = torch.zeros(max(lengths), dtype=torch.uint8)
        mine[: len(data)] = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else mine[:0]
        parts: list[Tensor] = [torch.empty_like(mine) for _ in lengths]
        self._checked(lambda: distributed.all_gather(parts, mine))
        return [part[:length].numpy().tobytes() for part, length in zip(parts, lengths, strict=True)]

    def _checked(self, collective: Callable[[], object]) -> None:
        try:
            collective()
        except RuntimeError as error:  # gloo and NCCL say by it that a peer is gone or silent
            raise TrainingError(
                f"rank {self.number} of {self.size} lost another rank of the trainer: see the other ranks' logs; "
                f"torchrun --max-restarts starts all again, from the last checkpoint ({_said(error)})"
            ) from error


@contextmanager
def joined_ranks(device: torch.device, *, timeout_s: float) -> Iterator[Ranks]:
    """Join the other ranks that a launcher started, or be the only one.

    Args:
        device: where gradients are; NCCL carries them between CUDA devices.
        timeout_s: how long a rank waits for the others before it gives up.

    Raises:
        ConfigError: the launcher's variables are incomplete, or the ranks cannot meet.
    """
    size = _variable(_SIZE, 1)
    if size == 1:
        yield Ranks()
        return
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    try:
        _meet(backend, timeout=timedelta(seconds=timeout_s))
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"the {size} ranks of the trainer cannot meet: start them with torchrun ({_said(error)})"
        ) from error
    yield Ranks(number=distributed.get_rank(), size=size)
    # Not after an error: the others may be in a collective, and would be waited for. The process ends anyway.
    distributed.destroy_process_group()


def _meet(backend: str, *, timeout: timedelta) -> None:
    """Form the process group at the address that the launcher's variables name."""
    store, rank, size = next(rendezvous("env://", timeout=timeout))
    if os.environ.get("LOCAL_WORLD_SIZE") == str(size):
        # torchrun keeps one store over its restarts, in which the addresses of ranks that died would be found. Over
        # several machines restart counts differ, and torchrun has to make a new store (docs/delivery.md says how).
        store = distributed.PrefixStore(  # type: ignore[attr-defined]  # public, not in __all__
            f"attempt-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store
        )
    distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)


def _said(error: Exception) -> str:
    """Return the first line of what torch said, without the places in its source."""
    return re.sub(r"\[[^\]]*\.(cc|cpp):\d+\] ?", "", str(error).splitlines()[0])


def _variable(name: str, default: int) -> int:
    value = os.environ.get(name, str(default))
    try:
        return int(value)
    except ValueError as error:
        raise ConfigError(f"{name}={value!r} is no number: it is set by torchrun") from error
