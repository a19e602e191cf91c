"""Device, threads and precision of a role's torch."""

from __future__ import annotations

import os

import numpy as np
import torch

from xpm_stream.config.sections import Precision
from xpm_stream.errors import ConfigError


def choose_device(name: str, *, threads: int = 0) -> torch.device:
    """Return the device called `name` (`auto`: a CUDA device, else the CPU), and set torch's CPU threads.

    `auto` and `cuda` are, under a launcher of several ranks, the CUDA device of this rank's number on its machine.

    Raises:
        ConfigError: there is no such device.
    """
    if threads:
        torch.set_num_threads(threads)
    own = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    if name == "auto":
        return torch.device(own if torch.cuda.is_available() else "cpu")
    if name == "cuda":
        name = own
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device {name!r} is unknown: use auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise ConfigError(f"device {name!r} is not there ({torch.cuda.device_count()} CUDA devices): use device: auto")
    return device


def seed_torch(seed: int, *, epoch: int, rank: int = 0) -> None:
    """Seed torch's own draws: a fresh network's weights (epoch 0, the teacher's), the noise of Eq. 6 in each epoch."""
    torch.manual_seed(int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1)[0]))


def autocast(device: torch.device, *, precision: Precision) -> torch.autocast:
    """Return the autocast context of a precision; losses and norms stay in fp32 inside it.

    `auto` is bf16 where the machine computes it fast, else fp32.
    """
    bf16 = computes_bf16_fast(device) if precision == "auto" else precision == "bf16"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16)


def computes_bf16_fast(device: torch.device) -> bool:
    """Whether bf16 is in hardware: CUDA from Ampere on, CPUs with AVX512-BF16 or AMX; emulation is slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities = torch.cpu.get_capabilities()
    return device.type == "cpu" and bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
