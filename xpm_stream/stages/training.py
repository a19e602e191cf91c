"""The streaming student: trains on labels and base images, checkpoints, then acknowledges, and proposes teachers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from xpm_stream import crash_points
from xpm_stream.config import RunConfig
from xpm_stream.label_queue import Delivery, LabelQueue
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.stages.devices import seed_torch
from xpm_stream.stages.label_feed import Admitted, LabelFeed, Starved, TrainingItem
from xpm_stream.stages.prefetch import Prefetched
from xpm_stream.stages.process import Role, open_queue, role_process
from xpm_stream.stages.sample_claims import SampleClaims
from xpm_stream.stages.shard_registration import corpus_finished, only_acknowledging_helps
from xpm_stream.stages.staleness import Staleness
from xpm_stream.stages.student import Student

_PREFETCHED_ITEMS: Final = 2
_LOG_EVERY_STEPS: Final = 20
_IDLE_CHECKPOINT_S: Final = 60.0  # without labels, what was trained becomes durable at least this often


def run_trainer(config: RunConfig) -> None:
    """Train the student until the corpus is finished, `trainer.steps` are done, or it is told to stop."""
    with role_process("trainer", kind="trainer", config=config) as role, open_queue(role) as queue:
        resume = CheckpointStore(f"{role.folder.registry_url(config)}/resume")
        student = _begin(role, resume)
        if student is not None:
            Trainer(role, queue=queue, resume=resume, student=student).run()


def _begin(role: Role, resume: CheckpointStore) -> Student | None:
    """Go on from the last durable checkpoint, or begin at the first teacher; none if told to stop before."""
    ready: list[Student] = []
    role.unready.append(lambda: None if ready else "no teacher is promoted yet")
    store, name = resume, ""
    latest = resume.latest()
    if latest is not None:
        name = latest.name
    else:
        while (champion := role.promotions.champion()) is None:
            role.watchdog.progress("waiting for the first teacher")
            if role.stop.wait(role.config.promotion.poll_s):
                return None
        store, name = role.checkpoints, champion.checkpoint
    ready.append(Student(role.config, files=store.read(name), name=name))
    role.log.info("student loaded", checkpoint=name, step=ready[0].state.step)
    return ready[0]


class Trainer:
    """One rank of the streaming student."""

    def __init__(self, role: Role, *, queue: LabelQueue, resume: CheckpointStore, student: Student) -> None:
        self._role = role
        self._config = role.config
        self._metrics = role.metrics.trainer
        self._queue = queue
        self._resume = resume
        self._student = student
        self._state = student.state
        self._staleness = Staleness(role.promotions, max_lag=self._config.trainer.max_teacher_lag)
        self._to_acknowledge: list[Delivery] = []
        self._checkpoints = 0
        self._checkpointed_at = time.monotonic()
        # Proposed steps are read from the registry: a crash after a proposal must not propose the same step again.
        self._proposed_step = max((c.step for c in role.promotions.candidates() if c.epoch > 0), default=0)
        self._state.epoch = queue.raise_epoch(at_least=self._state.epoch)
        crash_points.reach("trainer.after_epoch")
        seed_torch(self._config.seed, epoch=self._state.epoch)
        settlement = queue.settle(student.trained)
        crash_points.reach("trainer.after_settle")
        self._claims = SampleClaims(student.trained)
        self._metrics.epoch.set(self._state.epoch)
        role.log.info(
            "trainer started",
            epoch=self._state.epoch,
            step=self._state.step,
            trained=len(student.trained),
            acknowledged=settlement.acknowledged,
            returned=settlement.returned,
        )

    def run(self) -> None:
        """Train to the end; leave a durable checkpoint, its labels acknowledged, and a last candidate."""
        feed = LabelFeed(
            self._role,
            queue=self._queue,
            method=self._student.method,
            base_feed=self._student.base_feed,
            claims=self._claims,
            epoch=self._state.epoch,
        )
        finished = False
        with Prefetched(feed.items, depth=_PREFETCHED_ITEMS, name="label feed") as items:
            waited_from = time.monotonic()
            for item in items:
                self._metrics.data_wait_seconds.inc(time.monotonic() - waited_from)
                if self._role.stop.is_set():
                    break
                self._to_acknowledge += feed.take_duplicates()
                finished = self._starved() if isinstance(item, Starved) else self._train_fresh(feed, item)
                if finished:
                    break
                waited_from = time.monotonic()
        self._checkpoint()
        if finished and self._state.step > self._proposed_step:
            self._propose()
        self._role.log.info("trainer finished" if finished else "trainer stopped", step=self._state.step)

    def _starved(self) -> bool:
        """Without new labels: see whether all is done; make a checkpoint if only acknowledging brings more."""
        stats = self._queue.stats()
        idle = time.monotonic() - self._checkpointed_at > _IDLE_CHECKPOINT_S
        if self._to_acknowledge and (idle or only_acknowledging_helps(self._config.queue, stats)):
            self._checkpoint()
            stats = self._queue.stats()
        return corpus_finished(self._config.data, stats)

    def _train_fresh(self, feed: LabelFeed, item: TrainingItem) -> bool:
        """Train one item without its stale labels; return whether the last step is done."""
        fresh = self._send_back_stale(item.admitted)
        if len(fresh) < len(item.admitted):
            if not fresh:
                return False
            item = feed.recollate(fresh, base=item.base)
        self._train(item)
        if self._state.step - self._proposed_step >= self._config.promotion.every_steps:
            self._checkpoint()
            self._propose()
        elif self._state.step % self._config.trainer.checkpoint_every_steps == 0:
            self._checkpoint()
        return bool(self._config.trainer.steps) and self._state.step >= self._config.trainer.steps

    def _train(self, item: TrainingItem) -> None:
        losses, norm, seconds = self._student.step(item.batch)
        crash_points.reach("trainer.after_step")
        self._state.feed = dict(item.feed_state)
        self._claims.book_trained(admitted.message.sample for admitted in item.admitted)
        self._to_acknowledge += [admitted.delivery for admitted in item.admitted]
        for admitted in item.admitted:
            self._state.count(admitted.message)
        self._role.watchdog.progress(f"step {self._state.step}")
        self._observe(item, losses, norm, seconds)

    def _observe(self, item: TrainingItem, losses: Mapping[str, float], norm: float, seconds: float) -> None:
        metrics, now = self._metrics, time.time()
        metrics.steps.inc()
        metrics.step.set(self._state.step)
        metrics.step_seconds.observe(seconds)
        metrics.samples_trained.inc(len(item.admitted))
        metrics.base_images_trained.inc(len(item.base))
        metrics.gradient_norm.set(norm)
        metrics.learning_rate.set(self._student.learning_rate)
        metrics.observe_losses(losses)
        for admitted in item.admitted:
            lag = self._staleness.lag(admitted.message.teacher)
            metrics.staleness.observe(lag)
            metrics.labels_trained.labels(("current", "previous", "older")[min(lag, 2)]).inc()
            metrics.label_age_seconds.observe(max(0.0, now - admitted.message.labelled_at_s))
        observed = self._student.method.observations()
        for value in observed.get("reliability", ()):
            metrics.reliability.observe(value)
        for value in observed.get("noise", ()):
            metrics.noise.observe(value)
        if self._state.step % _LOG_EVERY_STEPS == 0 or self._state.step == 1:
            shown = {name: round(value, 4) for name, value in losses.items()}
            self._role.log.info("step", step=self._state.step, samples=self._state.samples_trained, **shown)

    # -- stale labels

    def _send_back_stale(self, admitted: list[Admitted]) -> list[Admitted]:
        """Give stale labels back to be relabelled, counted here so that time on the queue counts too."""
        verdicts = [(item, self._staleness.verdict(item.message.teacher)) for item in admitted]
        fresh = [item for item, reason in verdicts if reason is None]
        for reason in ("stale", "revoked"):
            found = [item for item, verdict in verdicts if verdict == reason]
            if found:
                fresh += self._give_back(found, reason=reason)
        return fresh

    def _give_back(self, items: list[Admitted], *, reason: str) -> list[Admitted]:
        """Give labels back; return those that were relabelled as often as allowed and are trained all the same."""
        # Before, not after: the loader thread may meet a new label, and must not take it for a second one of ours.
        self._claims.release(item.message.sample for item in items)
        crash_points.reach("trainer.before_give_back")
        outcome = self._queue.give_back([item.delivery for item in items], reason=reason)
        crash_points.reach("trainer.after_give_back")
        exhausted = {delivery.entry_id for delivery in outcome.exhausted}
        moved = [item for item in items if item.delivery.entry_id not in exhausted]
        kept = [item for item in items if item.delivery.entry_id in exhausted]
        self._metrics.samples_relabelled.labels(reason).inc(len(moved))
        self._state.samples_relabelled += len(moved)
        if reason == "stale":
            return [item for item in kept if self._claims.claim(item.message.sample)]
        for item in kept:  # a revoked teacher's label is never trained
            self._queue.dead_letter(item.delivery, reason="relabels_exhausted", detail="the teacher is revoked")
            self._metrics.dead_letters.labels("relabels_exhausted").inc()
        return []

    # -- durability

    def _checkpoint(self) -> None:
        """Make the state durable, then acknowledge its labels: a crash in between repeats labels, never loses them."""
        if not self._to_acknowledge:
            return
        started = time.monotonic()
        crash_points.reach("trainer.before_checkpoint")
        self._checkpoints += 1
        info = self._resume.write(
            f"student-e{self._state.epoch}-c{self._checkpoints:05d}-s{self._state.step}",
            self._student.resume_files(self._claims.trained()),
            order=(self._state.epoch, self._checkpoints),
            metadata={"step": self._state.step, "samples_trained": self._state.samples_trained},
        )
        crash_points.reach("trainer.after_checkpoint_before_ack")
        self._queue.acknowledge(self._to_acknowledge)
        crash_points.reach("trainer.after_ack")
        self._role.log.info(
            "checkpoint",
            name=info.name,
            bytes=info.size,
            acknowledged=len(self._to_acknowledge),
            seconds=round(time.monotonic() - started, 2),
        )
        self._to_acknowledge = []
        self._checkpointed_at = time.monotonic()
        self._resume.prune(keep=self._config.trainer.keep_checkpoints)
        self._metrics.checkpoint_seconds.observe(time.monotonic() - started)
        self._metrics.checkpoint_bytes.set(info.size)
        self._metrics.last_checkpoint.set_to_current_time()

    def _propose(self) -> None:
        """Offer the student (or its EMA) as teacher; its state is already durable in a resume checkpoint."""
        step, epoch = self._state.step, self._state.epoch
        name = f"student-e{epoch}-s{step}"
        metadata = {"stage": "student", "step": step, "samples_trained": self._state.samples_trained}
        files = self._student.candidate_files(name, ledger=self._claims.trained(), promotions=self._role.promotions)
        self._role.checkpoints.write(name, files, order=(epoch, step), metadata=metadata)
        crash_points.reach("trainer.after_candidate_before_proposal")
        self._role.promotions.propose(name, epoch=epoch, step=step, metadata=metadata)
        crash_points.reach("trainer.after_proposal")
        self._proposed_step = step
        self._role.log.info("candidate proposed", checkpoint=name, step=step)
