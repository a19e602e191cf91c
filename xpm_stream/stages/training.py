"""The streaming student: trains on labels and base images, checkpoints, then acknowledges, and proposes teachers."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, Final

from xpm_stream import crash_points
from xpm_stream.config import RunConfig
from xpm_stream.data.base_set import BaseSet
from xpm_stream.data.splits import load_split
from xpm_stream.errors import CheckpointError, TrainingError
from xpm_stream.label_queue import Delivery, LabelQueue, TrainedLedger
from xpm_stream.methods import find_method
from xpm_stream.methods.base import Method
from xpm_stream.records import SampleId
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.stages.base_feed import BaseFeed
from xpm_stream.stages.devices import autocast, choose_device
from xpm_stream.stages.label_feed import Admitted, LabelFeed, Starved, TrainingItem
from xpm_stream.stages.network_files import checkpoint_base_classes, load_network, network_files
from xpm_stream.stages.optimisation import Optimisation
from xpm_stream.stages.prefetch import Prefetched
from xpm_stream.stages.process import Role, open_queue, role_process
from xpm_stream.stages.sample_claims import SampleClaims
from xpm_stream.stages.staleness import Staleness

_PREFETCHED_ITEMS: Final = 2
_LOG_EVERY_STEPS: Final = 20


def run_trainer(config: RunConfig) -> None:
    """Train the student until the corpus is finished, `trainer.steps` are done, or it is told to stop."""
    with role_process("trainer", kind="trainer", config=config) as role, open_queue(role) as queue:
        trainer = Trainer.start(role, queue=queue)
        if trainer is not None:
            trainer.run()


class Trainer:
    """One rank of the streaming student."""

    @classmethod
    def start(cls, role: Role, *, queue: LabelQueue) -> Trainer | None:
        """Resume from the last durable checkpoint, or begin at the first teacher; none if told to stop before."""
        resume = CheckpointStore(f"{role.folder.registry_url(role.config)}/resume")
        latest = resume.latest()
        if latest is not None:
            files = resume.read(latest.name)
            return cls(role, queue=queue, resume=resume, files=files, name=latest.name)
        role.unready.append(lambda: None if role.promotions_seen else "no teacher is promoted yet")
        while (champion := role.promotions.champion()) is None:
            role.watchdog.progress("waiting for the first teacher")
            if role.stop.wait(role.config.promotion.poll_s):
                return None
        role.promotions_seen = True
        files = role.checkpoints.read(champion.checkpoint)
        return cls(role, queue=queue, resume=resume, files=files, name=champion.checkpoint)

    def __init__(
        self, role: Role, *, queue: LabelQueue, resume: CheckpointStore, files: Mapping[str, bytes], name: str
    ) -> None:
        self._role = role
        self._config = role.config
        self._metrics = role.metrics.trainer
        self._queue = queue
        self._resume = resume
        self._staleness = Staleness(role.promotions, max_lag=self._config.trainer.max_teacher_lag)
        self._device = choose_device(self._config.trainer.device, threads=self._config.trainer.threads)
        self._base_classes = checkpoint_base_classes(files, name=name)
        self._method: Method = find_method(self._config.method)(self._config, base_classes=self._base_classes)
        self._method.network.to(self._device).train()
        load_network(self._method, files, name=name)
        self._optimisation = Optimisation(
            self._method.network,
            config=self._config.optimiser,
            total_steps=self._config.trainer.schedule_steps or self._config.trainer.steps,
        )
        self._base_feed = _base_feed(self._config, self._base_classes)
        self._step, self._samples_trained, self._proposed_step = 0, 0, 0
        ledger = TrainedLedger()
        if "training.json" in files:
            ledger = self._resume_state(files, name=name)
        self._claims = SampleClaims(ledger)
        self._to_acknowledge: list[Delivery] = []
        self._epoch = queue.raise_epoch()
        settlement = queue.settle(ledger)
        reclaimed = queue.reclaim(role.name)
        self._metrics.epoch.set(self._epoch)
        role.log.info(
            "trainer started", epoch=self._epoch, step=self._step, checkpoint=name, trained=len(ledger),
            acknowledged=settlement.acknowledged, returned=settlement.returned, reclaimed=reclaimed,
        )  # fmt: skip

    def run(self) -> None:
        """Train to the end; leave a durable checkpoint, its labels acknowledged, and a last candidate."""
        feed = LabelFeed(
            self._role,
            queue=self._queue,
            method=self._method,
            base_feed=self._base_feed,
            claims=self._claims,
            epoch=self._epoch,
        )
        finished = False
        with Prefetched(feed.items, depth=_PREFETCHED_ITEMS, name="label feed") as items:
            waited_from = time.monotonic()
            for item in items:
                self._metrics.data_wait_seconds.inc(time.monotonic() - waited_from)
                if self._role.stop.is_set():
                    break
                self._to_acknowledge += _take_all(feed.duplicates)
                if isinstance(item, Starved):
                    finished = self._starved()
                else:
                    finished = self._train_fresh(feed, item)
                if finished:
                    break
                waited_from = time.monotonic()
        self._checkpoint()
        if finished and self._step > self._proposed_step:
            self._propose()
        self._role.log.info("trainer finished" if finished else "trainer stopped", step=self._step, epoch=self._epoch)

    def _starved(self) -> bool:
        """Without new labels: free the budget by a checkpoint, or see that all is done."""
        if self._to_acknowledge:
            self._checkpoint()
        return not self._config.data.watch and self._queue.stats().drained

    def _train_fresh(self, feed: LabelFeed, item: TrainingItem) -> bool:
        """Train one item without its stale labels; return whether the last step is done."""
        fresh = self._send_back_stale(item.admitted)
        if len(fresh) < len(item.admitted):
            if not fresh:
                return False
            item = feed.recollate(fresh, base=item.base)
        self._train(item)
        if self._step % self._config.trainer.checkpoint_every_steps == 0:
            self._checkpoint()
        if self._step - self._proposed_step >= self._config.promotion.every_steps:
            self._checkpoint()
            self._propose()
        return bool(self._config.trainer.steps) and self._step >= self._config.trainer.steps

    def _train(self, item: TrainingItem) -> None:
        started = time.monotonic()
        with autocast(self._device, precision=self._config.trainer.precision):
            losses = self._method.losses(item.batch)
        norm = self._optimisation.step(losses)
        crash_points.reach("trainer.after_step")
        self._step += 1
        self._feed_state = item.feed_state
        self._claims.book_trained(admitted.message.sample for admitted in item.admitted)
        self._to_acknowledge += [admitted.delivery for admitted in item.admitted]
        self._samples_trained += len(item.admitted)
        self._role.watchdog.progress(f"step {self._step}")
        self._observe(item, {name: float(loss) for name, loss in losses.items()}, norm, time.monotonic() - started)

    def _observe(self, item: TrainingItem, losses: Mapping[str, float], norm: float, seconds: float) -> None:
        metrics, now = self._metrics, time.time()
        metrics.steps.inc()
        metrics.step.set(self._step)
        metrics.step_seconds.observe(seconds)
        metrics.samples_trained.inc(len(item.admitted))
        metrics.base_images_trained.inc(len(item.base))
        metrics.gradient_norm.set(norm)
        metrics.learning_rate.set(self._optimisation.learning_rate)
        metrics.observe_losses(losses)
        for admitted in item.admitted:
            lag = self._staleness.lag(admitted.message.teacher)
            metrics.staleness.observe(lag)
            metrics.labels_trained.labels(("current", "previous", "older")[min(lag, 2)]).inc()
            metrics.label_age_seconds.observe(max(0.0, now - admitted.message.labelled_at_s))
        observed = self._method.observations()
        for value in observed.get("reliability", ()):
            metrics.reliability.observe(value)
        for value in observed.get("noise", ()):
            metrics.noise.observe(value)
        if self._step % _LOG_EVERY_STEPS == 0 or self._step == 1:
            shown = {name: round(value, 4) for name, value in losses.items()}
            self._role.log.info("step", step=self._step, samples=self._samples_trained, **shown)

    def _send_back_stale(self, admitted: list[Admitted]) -> list[Admitted]:
        """Give stale labels back to be relabelled, counted here so that time on the queue counts too."""
        verdicts = [self._staleness.verdict(item.message.teacher) for item in admitted]
        fresh = [item for item, reason in zip(admitted, verdicts, strict=True) if reason is None]
        for reason in {reason for reason in verdicts if reason is not None}:
            stale = [item for item, verdict in zip(admitted, verdicts, strict=True) if verdict == reason]
            outcome = self._queue.give_back([item.delivery for item in stale], reason=reason)
            exhausted = {delivery.entry_id for delivery in outcome.exhausted}
            moved = [item for item in stale if item.delivery.entry_id not in exhausted]
            self._claims.release(item.message.sample for item in moved)
            self._metrics.samples_relabelled.labels(reason).inc(len(moved))
            for item in stale:
                if item.delivery.entry_id in exhausted:
                    self._keep_or_bury(item, reason=reason, fresh=fresh)
        return fresh

    def _keep_or_bury(self, item: Admitted, *, reason: str, fresh: list[Admitted]) -> None:
        """A label relabelled as often as allowed: an old one is trained, a revoked teacher's never."""
        if reason == "revoked":
            self._claims.release([item.message.sample])
            self._queue.dead_letter(item.delivery, reason="relabels_exhausted", detail=f"teacher {reason}")
            self._metrics.dead_letters.labels("relabels_exhausted").inc()
        else:
            fresh.append(item)

    def _checkpoint(self) -> None:
        """Make the state durable, then acknowledge its labels: a crash in between repeats labels, never loses them."""
        if not self._to_acknowledge and self._resume.latest() is not None:
            return
        started = time.monotonic()
        crash_points.reach("trainer.before_checkpoint")
        files = self._network_files() | self._optimisation.files()
        files["training.json"] = json.dumps(self._training_state()).encode()
        info = self._resume.write(
            f"student-e{self._epoch}-s{self._step:08d}-n{self._samples_trained}",
            files,
            order=(self._epoch, self._step, self._samples_trained),
        )
        crash_points.reach("trainer.after_checkpoint_before_ack")
        self._queue.acknowledge(self._to_acknowledge)
        crash_points.reach("trainer.after_ack")
        self._role.log.info(
            "checkpoint", name=info.name, step=self._step, bytes=info.size, acknowledged=len(self._to_acknowledge)
        )
        self._to_acknowledge = []
        self._resume.prune(keep=self._config.trainer.keep_checkpoints)
        self._metrics.checkpoint_seconds.observe(time.monotonic() - started)
        self._metrics.checkpoint_bytes.set(info.size)
        self._metrics.last_checkpoint.set_to_current_time()

    def _propose(self) -> None:
        """Offer the student (or its EMA) as teacher; the weights are already durable in a resume checkpoint."""
        weights = None
        if self._config.promotion.candidate == "ema":
            weights = self._optimisation.ema_weights()
        name = f"student-e{self._epoch}-s{self._step}"
        if name not in {checkpoint.name for checkpoint in self._role.checkpoints.list()}:
            files = self._network_files(weights)
            metadata = {"stage": "student", "step": self._step, "samples_trained": self._samples_trained}
            self._role.checkpoints.write(name, files, order=(self._epoch, self._step), metadata=metadata)
        crash_points.reach("trainer.after_candidate_before_proposal")
        self._role.promotions.propose(
            name, epoch=self._epoch, step=self._step, metadata={"samples_trained": self._samples_trained}
        )
        self._proposed_step = self._step
        self._role.log.info("candidate proposed", checkpoint=name, step=self._step)

    def _network_files(self, weights: Any = None) -> dict[str, bytes]:
        return network_files(self._method, config=self._config, base_classes=self._base_classes, weights=weights)

    def _training_state(self) -> dict[str, Any]:
        return {
            "step": self._step,
            "epoch": self._epoch,
            "samples_trained": self._samples_trained,
            "proposed_step": self._proposed_step,
            "feed": dict(self._feed_state),
            "ledger": self._claims.trained_json(),
        }

    def _resume_state(self, files: Mapping[str, bytes], *, name: str) -> TrainedLedger:
        try:
            state = json.loads(files["training.json"])
            self._step = int(state["step"])
            self._samples_trained = int(state["samples_trained"])
            self._proposed_step = int(state["proposed_step"])
            ledger = TrainedLedger.from_dict(state["ledger"])
            self._feed_state = state["feed"]
        except (KeyError, ValueError) as error:
            raise CheckpointError(f"checkpoint {name}: training.json cannot be used: {error}") from error
        self._optimisation.load(files, name=name)
        if self._base_feed is not None and self._feed_state:
            self._base_feed.load_state(self._feed_state)
        return ledger
