"""The student of a trainer process: network, optimiser and progress, brought from and into checkpoints."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from xpm_stream.config import RunConfig
from xpm_stream.data.base_set import BaseSet
from xpm_stream.label_queue import TrainedLedger
from xpm_stream.methods import find_method
from xpm_stream.methods.base import Batch, Method
from xpm_stream.registry.promotion_log import PromotionLog
from xpm_stream.stages.base_feed import BaseFeed
from xpm_stream.stages.devices import autocast, choose_device
from xpm_stream.stages.model_cards import student_card
from xpm_stream.stages.network_files import (
    checkpoint_base_classes,
    checkpoint_words,
    embedding_files,
    load_network,
    network_files,
)
from xpm_stream.stages.optimisation import Optimisation
from xpm_stream.stages.ranks import Ranks
from xpm_stream.stages.training_state import TRAINING, TrainingState, decode_training_state


class Student:
    """A network that learns."""

    def __init__(self, config: RunConfig, *, files: Mapping[str, bytes], name: str, ranks: Ranks) -> None:
        """Begin at a teacher's checkpoint, or go on from a resume checkpoint; `name` is its name in errors.

        Raises:
            CheckpointError: the files belong to another architecture, optimiser or format.
        """
        self._config = config
        self._device = choose_device(config.trainer.device, threads=config.trainer.threads)
        self._base_classes = checkpoint_base_classes(files, name=name)
        self.method: Method = find_method(config.method)(config, base_classes=self._base_classes)
        self.method.network.to(self._device).train()
        load_network(self.method, files, name=name)
        total_steps = config.trainer.schedule_steps or config.trainer.steps
        self._optimisation = Optimisation(
            self.method.network, config=config.optimiser, total_steps=total_steps, ranks=ranks
        )
        self.base_feed = _base_feed(config, self._base_classes, ranks=ranks)
        self.state = TrainingState()
        self.trained = TrainedLedger()
        if TRAINING in files:
            self.state, self.trained = decode_training_state(files, name=name)
            self._optimisation.load(files, name=name)
            if self.base_feed is not None and self.state.feed:
                self.base_feed.load_state(self.state.feed)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return self._optimisation.learning_rate

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What learns."""
        return self._optimisation.parameters

    def step(self, batch: Batch | None) -> tuple[dict[str, float], float, float]:
        """Take one optimiser step; return the losses, the gradient norm, and the seconds it took.

        Without a batch this rank only follows the others.
        """
        started = time.monotonic()
        losses: dict[str, torch.Tensor] = {}
        if batch is not None:
            with autocast(self._device, precision=self._config.trainer.precision):
                losses = self.method.losses(batch)
        norm = self._optimisation.step(losses)
        self.state.step += 1
        return {name: float(loss.detach()) for name, loss in losses.items()}, norm, time.monotonic() - started

    def resume_files(self, ledger: TrainedLedger) -> dict[str, bytes]:
        """Return everything needed to go on from here, with the trained ledger of this moment."""
        return self._files(None) | self._optimisation.files() | {TRAINING: self.state.encode(ledger.to_dict())}

    def candidate_files(self, name: str, *, ledger: TrainedLedger, promotions: PromotionLog) -> dict[str, bytes]:
        """Return what is proposed as teacher: the student or its EMA, with its model card and metrics."""
        use_ema = self._config.promotion.candidate == "ema"
        files = self._files(self._optimisation.ema_weights() if use_ema else None)
        files |= embedding_files(self.method, config=self._config)
        return files | student_card(
            name,
            config=self._config,
            base_classes=len(self._base_classes),
            state=self.state,
            ledger=ledger,
            promotions=promotions,
            caption_words=len(set(checkpoint_words(files, name=name)) - set(self._base_classes)),
        )

    def _files(self, weights: Mapping[str, torch.Tensor] | None) -> dict[str, bytes]:
        return network_files(self.method, config=self._config, base_classes=self._base_classes, weights=weights)


def _base_feed(config: RunConfig, base_classes: Sequence[str], *, ranks: Ranks) -> BaseFeed | None:
    """The base set beside the captions; none where steps take no base images."""
    if config.data.base is None or config.trainer.batch_base == 0:
        return None
    base_set = BaseSet.load(config.data.base, class_names=base_classes)
    # Another order than the teacher's.
    return BaseFeed(base_set, seed=config.seed + 1, rank=ranks.number, num_ranks=ranks.size)
