"""The first teacher: base classes, and with `teacher.grounding_weight` captions. Resumable; the last is proposed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from xpm_stream.config import RunConfig
from xpm_stream.data.base_set import BaseSet
from xpm_stream.data.splits import load_split
from xpm_stream.errors import ConfigError, XpmStreamError
from xpm_stream.learning.grounding import Alone
from xpm_stream.methods import find_method
from xpm_stream.methods.base import Batch, CaptionGrounder, Method
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.stages.base_feed import BaseFeed
from xpm_stream.stages.caption_feed import CaptionFeed
from xpm_stream.stages.devices import autocast, choose_device, seed_torch
from xpm_stream.stages.model_cards import teacher_card
from xpm_stream.stages.network_files import checkpoint_base_classes, embedding_files, load_network, network_files
from xpm_stream.stages.optimisation import Optimisation
from xpm_stream.stages.prefetch import Prefetched
from xpm_stream.stages.pretrained import load_starting_point
from xpm_stream.stages.process import Role, role_process

_PREFETCHED_BATCHES = 3
_LOG_EVERY_STEPS = 50


def run_teacher(config: RunConfig) -> None:
    """Train the first teacher (or take `teacher.checkpoint`) and propose it; does nothing if a teacher is promoted.

    Raises:
        ConfigError: there is no base set to train on.
    """
    with role_process("teacher", kind="trainer", config=config) as role:
        if role.promotions.candidates():
            role.log.info("a first teacher is already proposed")
            return
        if config.teacher.checkpoint:
            _adopt(role, config.teacher.checkpoint)
        else:
            TeacherTraining(role).run()


def _adopt(role: Role, url: str) -> None:
    """Copy a checkpoint folder from anywhere into this run's registry, and propose it.

    Raises:
        CheckpointError: there is no such checkpoint, or it is of another architecture than this run's.
    """
    parent, _, name = url.rstrip("/").rpartition("/")
    files = CheckpointStore(parent or ".").read(name)
    # Loaded once here: a teacher that nobody can load would otherwise be promoted, and stay so.
    method = find_method(role.config.method)(role.config, base_classes=checkpoint_base_classes(files, name=name))
    load_network(method, files, name=name)
    name, is_there = role.checkpoints.whole_or_free(name)
    if not is_there:
        role.checkpoints.write(name, files, metadata={"adopted_from": url})
    role.promotions.propose(name, epoch=0, step=0, metadata={"adopted_from": url})
    role.log.info("teacher adopted", checkpoint=name, adopted_from=url)


@dataclass(frozen=True, slots=True)
class _Prepared:
    batch: Batch
    captions: Batch | None  # with `teacher.grounding_weight`
    feed_states: Mapping[str, Any]


class TeacherTraining:
    """L_GT on the base set, and grounding on caption images if asked for, for `teacher.steps` steps."""

    def __init__(self, role: Role) -> None:
        config = role.config
        if config.data.base is None:
            raise ConfigError("teacher training needs data.base (COCO instance JSON and images), or teacher.checkpoint")
        self._role = role
        self._config = config
        self._device = choose_device(config.trainer.device, threads=config.teacher.threads)
        split = load_split(config.data.split.file)
        base_set = BaseSet.load(config.data.base, class_names=split.base)
        self._base_classes = list(base_set.class_names)
        seed_torch(config.seed, epoch=0)
        self._method: Method = find_method(config.method)(config, base_classes=self._base_classes)
        self._method.network.to(self._device).train()
        self._grounder = self._find_grounder()
        self._optimisation = Optimisation(
            self._method.network, config=config.optimiser, total_steps=config.teacher.steps
        )
        self._feed = BaseFeed(base_set, seed=config.seed)
        self._captions: CaptionFeed | None = None
        if config.teacher.grounding_weight:
            self._captions = CaptionFeed(
                config.data, seed=config.seed, metrics=role.metrics.labeler, on_problem=self._report
            )
        self._resume = CheckpointStore(role.folder.teacher)
        self._step = 0

    def run(self) -> None:
        """Train to the end and propose, or stop early with a checkpoint when told to."""
        self._restore()
        steps = self._config.teacher.steps
        unsaved: Mapping[str, Any] | None = None  # feed states of the last step that no checkpoint holds
        with Prefetched(self._batches, depth=_PREFETCHED_BATCHES, name="base batches") as batches:
            for prepared in batches:
                if self._step >= steps or self._role.stop.is_set():
                    break
                self._train(prepared)
                unsaved = prepared.feed_states
                if self._step % self._config.trainer.checkpoint_every_steps == 0 and self._step < steps:
                    self._save(prepared.feed_states)
                    unsaved = None
        if self._step < steps:
            if unsaved is not None:
                self._save(unsaved)
            self._role.log.info("stopped", step=self._step, of=steps)
            return
        self._propose()

    def _train(self, prepared: _Prepared) -> None:
        started = time.monotonic()
        with autocast(self._device, precision=self._config.trainer.precision):
            losses = self._method.losses(prepared.batch)
            if prepared.captions is not None:
                losses |= self._ground(prepared.captions)
        self._optimisation.step(losses)
        self._step += 1
        self._role.watchdog.progress(f"teacher step {self._step}")
        values = {name: float(loss.detach()) for name, loss in losses.items()}
        metrics = self._role.metrics.trainer
        metrics.steps.inc()
        metrics.step.set(self._step)
        metrics.base_images_trained.inc(self._config.teacher.batch_images)
        metrics.step_seconds.observe(time.monotonic() - started)
        metrics.observe_losses(values)
        if self._step % _LOG_EVERY_STEPS == 0 or self._step == 1:
            shown = {name: round(value, 4) for name, value in values.items()}
            self._role.log.info("teacher step", step=self._step, of=self._config.teacher.steps, **shown)

    def _find_grounder(self) -> CaptionGrounder | None:
        """Return the method as one that learns from captions, where the configuration asks for that."""
        settings = self._config.teacher
        if not settings.grounding_weight and not settings.freeze_embedding:
            return None
        if not isinstance(self._method, CaptionGrounder):
            raise ConfigError(
                f"method {self._config.method!r} cannot be grounded in captions: set teacher.grounding_weight to 0 and "
                "teacher.freeze_embedding to false"
            )
        if settings.freeze_embedding:
            self._method.freeze_embedding()
        return self._method

    def _ground(self, captions: Batch) -> dict[str, Tensor]:
        """Match the step's captions with the proposals of their images; the losses, weighted."""
        assert self._grounder is not None
        matching = self._grounder.ground(captions, regions="proposals", company=Alone())
        self._role.metrics.trainer.observe_matching(
            matching.caption_accuracy, matching.image_accuracy, chance=matching.chance
        )
        return {name: self._config.teacher.grounding_weight * loss for name, loss in matching.losses.items()}

    def _batches(self) -> Iterator[_Prepared]:
        number = self._step
        while True:
            images = self._feed.take(self._config.teacher.batch_images)
            rng = np.random.default_rng([self._config.seed, 0, number])
            batch = self._method.collate([], images, rng=rng)
            captions = None
            states = {"feed": self._feed.state()}
            if self._captions is not None and self._grounder is not None:
                captions = self._grounder.collate_captions(
                    self._captions.take(self._config.teacher.batch_captions), rng=rng
                )
                states["captions"] = self._captions.state()
            yield _Prepared(batch, captions, states)
            number += 1

    def _report(self, error: XpmStreamError, url: str) -> None:
        self._role.metrics.count_error(error)
        self._role.log.warning("cannot be used", url=url, reason=str(error))

    def _save(self, feed_states: Mapping[str, Any]) -> None:
        files = self._network_files() | self._optimisation.files()
        files["training.json"] = json.dumps({"step": self._step, **feed_states}).encode()
        name = f"teacher-s{self._step:08d}"
        self._resume.write(name, files, order=(0, self._step))
        self._resume.prune(keep=self._config.trainer.keep_checkpoints)

    def _restore(self) -> None:
        latest = self._resume.latest()
        if latest is None:
            self._role.log.info("begun", start=load_starting_point(self._role, self._method))
            return
        files = self._resume.read(latest.name)
        load_network(self._method, files, name=latest.name)
        self._optimisation.load(files, name=latest.name)
        training = json.loads(files["training.json"])
        self._step = training["step"]
        self._feed.load_state(training["feed"])
        if self._captions is not None and "captions" in training:
            self._captions.load_state(training["captions"])
        self._role.log.info("resumed", checkpoint=latest.name, step=self._step)

    def _propose(self) -> None:
        name, is_there = self._role.checkpoints.whole_or_free(f"teacher-e0-s{self._step}")
        if not is_there:
            metadata = {"stage": "teacher", "step": self._step}
            classes = len(self._base_classes)
            card = teacher_card(name, config=self._config, base_classes=classes, step=self._step)
            files = self._network_files() | embedding_files(self._method, config=self._config) | card
            self._role.checkpoints.write(name, files, order=(0, self._step), metadata=metadata)
        self._role.promotions.propose(name, epoch=0, step=self._step, metadata={"stage": "teacher"})
        self._role.log.info("teacher proposed", checkpoint=name, step=self._step)

    def _network_files(self) -> dict[str, bytes]:
        return network_files(self._method, config=self._config, base_classes=self._base_classes)
