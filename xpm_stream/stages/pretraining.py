"""Caption pretraining: backbone and embedding head learn which caption belongs to which image. No queue, no masks."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from torch import nn

from xpm_stream.config import RunConfig
from xpm_stream.config.network_sections import PretrainingConfig
from xpm_stream.data.splits import load_split
from xpm_stream.errors import CheckpointError, ConfigError, TrainingError, XpmStreamError
from xpm_stream.learning.grounding import Matching
from xpm_stream.methods import find_method
from xpm_stream.methods.base import Batch, CaptionGrounder
from xpm_stream.methods.caption_reading import CaptionReader, Reading, TokenBatch
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.stages.caption_feed import CaptionFeed
from xpm_stream.stages.devices import autocast, choose_device, seed_torch
from xpm_stream.stages.multimodal_file import load_multimodal, multimodal_file
from xpm_stream.stages.network_files import load_network, network_files
from xpm_stream.stages.optimisation import Optimisation
from xpm_stream.stages.prefetch import Prefetched
from xpm_stream.stages.pretrained import FINISHED
from xpm_stream.stages.process import Role, role_process
from xpm_stream.stages.ranks import Ranks, joined_ranks, rank_of_process

_PREFETCHED_BATCHES: Final = 3
_LOG_EVERY_STEPS: Final = 50
_PORTS_OF_RANKS: Final = 1000


def run_pretraining(config: RunConfig) -> None:
    """Pretrain for `pretraining.steps` steps; does nothing if that is done. Under torchrun every rank calls this.

    Raises:
        ConfigError: there are no caption shards, or the method cannot learn from captions alone.
        TrainingError: matching accuracy stays at chance.
    """
    rank = rank_of_process()
    name, offset = (f"pretrainer-{rank}", _PORTS_OF_RANKS + rank) if rank else ("pretrainer", 0)
    with (
        role_process(name, kind="trainer", config=config, port_offset=offset) as role,
        joined_ranks(choose_device(config.trainer.device), timeout_s=config.trainer.stall_timeout_s) as ranks,
    ):
        Pretraining(role, ranks=ranks).run()


class CollapseWatch:
    """Tells when matching accuracy is no better than guessing although it should be by now."""

    def __init__(self, config: PretrainingConfig) -> None:
        self._config = config
        self._seen: deque[tuple[float, float]] = deque(maxlen=config.collapse_window_steps)

    def look(self, matching: Matching, *, step: int) -> None:
        """Take note of one step.

        Raises:
            TrainingError: from `collapse_after_steps` on, the window's accuracy is too near chance.
        """
        accuracy = (matching.caption_accuracy + matching.image_accuracy) / 2
        self._seen.append((accuracy, matching.chance))
        needed = min(self._config.collapse_window_steps, self._config.collapse_after_steps)
        if step < self._config.collapse_after_steps or len(self._seen) < needed:
            return
        mean, chance = np.mean(self._seen, axis=0)
        if mean < self._config.min_accuracy_over_chance * chance:
            wanted = self._config.min_accuracy_over_chance
            raise TrainingError(
                f"caption pretraining has collapsed: at step {step} images and captions are matched with accuracy "
                f"{mean:.3f}, where guessing gives {chance:.3f} (asked: {wanted:g} times that). Look at "
                "whether captions belong to their images; lower optimiser.learning_rate, raise "
                "pretraining.batch_images, or give it longer with pretraining.collapse_after_steps"
            )


@dataclass(frozen=True, slots=True)
class _Prepared:
    batch: Batch
    tokens: TokenBatch | None  # with `pretraining.multimodal_layers`
    feed_state: Mapping[str, Any]


class Pretraining:
    """One rank of caption pretraining; all ranks take every step together."""

    def __init__(self, role: Role, *, ranks: Ranks) -> None:
        config = role.config
        self._role = role
        self._config = config
        self._ranks = ranks
        self._device = choose_device(config.trainer.device, threads=config.teacher.threads)
        self._base_classes = list(load_split(config.data.split.file).base)
        seed_torch(config.seed, epoch=0)
        method = find_method(config.method)(config, base_classes=self._base_classes)
        if not isinstance(method, CaptionGrounder):
            raise ConfigError(f"method {config.method!r} cannot learn from captions alone: it needs no pretraining")
        self._method = method
        self._reader = CaptionReader(config) if config.pretraining.multimodal_layers else None
        learning = nn.ModuleList([method.network, self._reader.network]) if self._reader else method.network
        learning.to(self._device).train()
        self._optimisation = Optimisation(
            learning, config=config.optimiser, total_steps=config.pretraining.steps, ranks=ranks
        )
        self._feed = CaptionFeed(
            config.data,
            seed=config.seed,
            metrics=role.metrics.labeler,
            on_problem=self._report,
            rank=ranks.number,
            num_ranks=ranks.size,
        )
        self._store = CheckpointStore(role.folder.pretraining)
        self._watch = CollapseWatch(config.pretraining)
        self._step = 0

    def run(self) -> None:
        """Train to the end and leave a finished checkpoint, or stop early with one to go on from when told to."""
        self._restore()
        steps = self._config.pretraining.steps
        if self._step >= steps:
            self._role.log.info("pretraining is done already", step=self._step)
            return
        with Prefetched(self._batches, depth=_PREFETCHED_BATCHES, name="caption batches") as batches:
            for prepared in batches:
                self._train(prepared)
                stopping = any(self._ranks.share(self._role.stop.is_set()))
                due = self._step % self._config.trainer.checkpoint_every_steps == 0
                if stopping or due or self._step >= steps:
                    self._save(prepared.feed_state)
                if stopping or self._step >= steps:
                    break
        done = self._step >= steps
        self._role.log.info("pretraining finished" if done else "stopped", step=self._step, of=steps)

    def _train(self, prepared: _Prepared) -> None:
        started = time.monotonic()
        with autocast(self._device, precision=self._config.trainer.precision):
            matching = self._method.ground(prepared.batch, regions="windows", company=self._ranks)
            reading = self._read(prepared.tokens, matching)
        losses = matching.losses | (reading.losses if reading else {})
        norm = self._optimisation.step(losses)
        self._step += 1
        self._role.watchdog.progress(f"pretraining step {self._step}")
        values = {name: float(loss.detach()) for name, loss in losses.items()}
        metrics = self._role.metrics.trainer
        metrics.steps.inc()
        metrics.step.set(self._step)
        metrics.gradient_norm.set(norm)
        metrics.step_seconds.observe(time.monotonic() - started)
        metrics.observe_losses(values)
        metrics.observe_matching(matching.caption_accuracy, matching.image_accuracy, chance=matching.chance)
        accuracies = {
            "caption_accuracy": matching.caption_accuracy,
            "image_accuracy": matching.image_accuracy,
            "chance": matching.chance,
        }
        if reading is not None:
            metrics.observe_reading(reading.masked_accuracy, reading.match_accuracy)
            accuracies |= {"masked_accuracy": reading.masked_accuracy, "match_accuracy": reading.match_accuracy}
        if self._step % _LOG_EVERY_STEPS == 0 or self._step == 1:
            self._role.log.info(
                "pretraining step",
                step=self._step,
                of=self._config.pretraining.steps,
                **{name: round(value, 3) for name, value in accuracies.items()},
                **{name: round(value, 4) for name, value in values.items()},
            )
        self._watch.look(matching, step=self._step)

    def _read(self, tokens: TokenBatch | None, matching: Matching) -> Reading | None:
        if self._reader is None or tokens is None:
            return None
        return self._reader.read(tokens, matching, company=self._ranks)

    def _batches(self) -> Iterator[_Prepared]:
        number = self._step
        while True:
            images = self._feed.take(self._config.pretraining.batch_images)
            views, words = (
                np.random.default_rng([self._config.seed, stream, self._ranks.number, number]) for stream in (1, 2)
            )
            yield _Prepared(
                batch=self._method.collate_captions(images, rng=views),
                tokens=self._reader.collate(images, rng=words) if self._reader else None,
                feed_state=self._feed.state(),
            )
            number += 1

    def _report(self, error: XpmStreamError, url: str) -> None:
        self._role.metrics.count_error(error)
        self._role.log.warning("cannot be used", url=url, reason=str(error))

    def _save(self, feed_state: Mapping[str, Any]) -> None:
        feeds = self._ranks.share(dict(feed_state))
        self._ranks.require_equal(self._optimisation.parameters)
        # Every rank waits here for rank 0: none says that it has finished before the checkpoint is durable.
        self._ranks.from_first(lambda: self._write(feeds), kind=str)

    def _write(self, feeds: list[dict[str, Any]]) -> str:
        name = f"pretraining-s{self._step:08d}"
        files = network_files(self._method, config=self._config, base_classes=self._base_classes)
        files |= multimodal_file(self._reader) | self._optimisation.files()
        files["training.json"] = json.dumps({"step": self._step, "feeds": feeds}).encode()
        metadata = {"stage": "pretraining", FINISHED: self._step >= self._config.pretraining.steps}
        self._store.write(name, files, order=(0, self._step), metadata=metadata)
        self._store.prune(keep=self._config.trainer.keep_checkpoints)
        return name

    def _restore(self) -> None:
        latest = self._ranks.from_first(self._latest, kind=str)
        if not latest:
            self._method.load_starting_weights()
            return
        files = self._store.read(latest)
        load_network(self._method, files, name=latest)
        load_multimodal(self._reader, files, name=latest)
        self._optimisation.load(files, name=latest)
        training = json.loads(files["training.json"])
        self._step = training["step"]
        feeds = training["feeds"]
        if len(feeds) != self._ranks.size:
            raise CheckpointError(
                f"checkpoint {latest} was written by {len(feeds)} ranks, this pretraining has {self._ranks.size}: "
                "start as many, or begin in another folder"
            )
        self._feed.load_state(feeds[self._ranks.number])
        self._role.log.info("resumed", checkpoint=latest, step=self._step)

    def _latest(self) -> str:
        latest = self._store.latest()
        return latest.name if latest is not None else ""
