"""Optimiser, learning-rate schedule, gradient clipping and EMA of one network, with a state that needs no pickle."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from xpm_stream.config.role_sections import OptimiserConfig
from xpm_stream.errors import CheckpointError, ConfigError, TrainingError
from xpm_stream.stages.ranks import Ranks


def learning_rate_factor(step: int, *, config: OptimiserConfig, total_steps: int) -> float:
    """Return the factor on the base learning rate at `step` (0-based): linear warm-up, then the schedule."""
    warmup = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.schedule == "constant" or total_steps == 0:
        return warmup
    done = min(1.0, step / total_steps)
    if config.schedule == "cosine":
        return warmup * 0.5 * (1.0 + math.cos(math.pi * done))
    return warmup * math.prod(0.1 for fraction in config.step_fractions if done >= fraction)


class Optimisation:
    """Everything between named losses and changed weights."""

    def __init__(
        self, network: nn.Module, *, config: OptimiserConfig, total_steps: int, ranks: Ranks | None = None
    ) -> None:
        self._network = network
        self._ranks = ranks or Ranks()
        self._config = config
        self._parameters = [p for p in network.parameters() if p.requires_grad]
        self._optimiser = _build_optimiser(self._parameters, config)
        self._schedule = LambdaLR(
            self._optimiser, lambda step: learning_rate_factor(step, config=config, total_steps=total_steps)
        )
        self.ema: AveragedModel | None = None
        if config.ema_decay:
            average = get_ema_multi_avg_fn(config.ema_decay)  # type: ignore[no-untyped-call]
            self.ema = AveragedModel(network, multi_avg_fn=average, use_buffers=True)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return float(self._optimiser.param_groups[0]["lr"])

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What learns."""
        return self._parameters

    def step(self, losses: Mapping[str, Tensor]) -> float:
        """Minimise the sum of the losses, in the mean over all ranks, by one step; return the norm before clipping.

        Args:
            losses: scalars with their graph; none where this rank has no batch while others have.

        Raises:
            TrainingError: the gradient is not finite, and the weights are unchanged; or another rank is gone.
        """
        self._optimiser.zero_grad(set_to_none=True)
        if losses:
            total = torch.stack([loss.float() for loss in losses.values()]).sum()
            total.backward()  # type: ignore[no-untyped-call]
        self._ranks.average_gradients(self._parameters)
        norm = float(nn.utils.clip_grad_norm_(self._parameters, self._config.clip_norm))
        if not math.isfinite(norm):
            shown = ", ".join(f"{name}={float(loss.detach()):.4g}" for name, loss in losses.items())
            raise TrainingError(
                f"the gradient is not finite ({shown}): lower optimiser.learning_rate or optimiser.clip_norm, "
                "and start again from the last checkpoint"
            )
        self._optimiser.step()
        self._schedule.step()
        if self.ema is not None:
            self.ema.update_parameters(self._network)
        return norm

    def ema_weights(self) -> dict[str, Tensor]:
        """Return the averaged weights by the network's own names.

        Raises:
            ConfigError: no average is kept.
        """
        if self.ema is None:
            raise ConfigError("promotion.candidate: ema needs optimiser.ema_decay above 0")
        return dict(self.ema.module.state_dict())

    def files(self) -> dict[str, bytes]:
        """Return the state as named files: safetensors for tensors, JSON for the rest."""
        state = self._optimiser.state_dict()
        tensors: dict[str, Tensor] = {}
        for index, slots in state["state"].items():
            for slot, value in slots.items():
                tensors[f"{index}.{slot}"] = torch.as_tensor(value).detach().cpu().contiguous()
        rest = {
            "name": self._config.name,
            "param_groups": state["param_groups"],
            "schedule_step": self._schedule.last_epoch,
        }
        files = {
            "optimiser.safetensors": safetensors.torch.save(tensors),
            "optimiser.json": json.dumps(rest).encode(),
        }
        if self.ema is not None:
            averaged = {name: value.detach().cpu().contiguous() for name, value in self.ema.state_dict().items()}
            files["ema.safetensors"] = safetensors.torch.save(averaged)
        return files

    def load(self, files: Mapping[str, bytes], *, name: str) -> None:
        """Take up a state written by `files()`; `name` is the checkpoint's name in errors.

        Raises:
            CheckpointError: the state belongs to another optimiser or network.
        """
        try:
            rest = json.loads(files["optimiser.json"])
            if rest["name"] != self._config.name:
                raise ValueError(f"{rest['name']}, not {self._config.name}")
            slots: dict[int, dict[str, Any]] = {}
            for key, value in safetensors.torch.load(files["optimiser.safetensors"]).items():
                index, _, slot = key.partition(".")
                slots.setdefault(int(index), {})[slot] = _laid_out_like(self._parameters[int(index)], value)
            step = int(rest["schedule_step"])
            groups = [{**group, "lr": group["initial_lr"]} for group in rest["param_groups"]]
            self._optimiser.load_state_dict({"state": slots, "param_groups": groups})
            if self.ema is not None:
                self.ema.load_state_dict(safetensors.torch.load(files["ema.safetensors"]))
        except (KeyError, IndexError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
            raise CheckpointError(
                f"checkpoint {name} holds the state of another optimiser ({error}); start a new run folder, "
                "or restore the optimiser section it was written with"
            ) from error
        self._schedule.last_epoch = step
        for group, base, factor in zip(
            self._optimiser.param_groups, self._schedule.base_lrs, self._schedule.lr_lambdas, strict=True
        ):
            group["lr"] = base * factor(step)


def _laid_out_like(parameter: nn.Parameter, value: Tensor) -> Tensor:
    """Give a slot the memory layout of its parameter: fused optimisers pair the two in the order of memory."""
    if value.shape != parameter.shape:
        return value  # a step count
    return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)


def _build_optimiser(parameters: list[nn.Parameter], config: OptimiserConfig) -> torch.optim.Optimizer:
    if config.name == "sgd":
        return torch.optim.SGD(
            parameters, lr=config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
        )
    return torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
