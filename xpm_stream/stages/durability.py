"""What makes training durable: checkpoints, after which labels are acknowledged, and candidates for promotion."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Final

from xpm_stream import crash_points
from xpm_stream.label_queue import Delivery, LabelQueue
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.stages.process import Role
from xpm_stream.stages.ranks import Ranks
from xpm_stream.stages.replay import Replay
from xpm_stream.stages.sample_claims import SampleClaims
from xpm_stream.stages.student import Student

# Without labels, what was trained becomes durable at least this often. Below `redis.retry_for_s`: that long do labelers
# wait whom a full Redis refuses, and acknowledging is what makes room.
_IDLE_CHECKPOINT_S: Final = 30.0


class Durability:
    """Checkpoint first, acknowledge then. All ranks call each method at the same place; rank 0 writes."""

    def __init__(
        self,
        role: Role,
        *,
        queue: LabelQueue,
        resume: CheckpointStore,
        student: Student,
        claims: SampleClaims,
        ranks: Ranks,
        replay: Replay | None = None,
    ) -> None:
        self._role = role
        self._config = role.config
        self._metrics = role.metrics.trainer
        self._queue = queue
        self._resume = resume
        self._student = student
        self._claims = claims
        self._ranks = ranks
        self._replay = replay
        self._to_acknowledge: list[Delivery] = []
        self._checkpoints = 0
        self._checkpointed_at = time.monotonic()
        # Proposed steps are read from the registry: a crash after a proposal must not propose the same step again.
        self._proposed_step = ranks.from_first(
            lambda: max((c.step for c in role.promotions.candidates() if c.epoch > 0), default=0), kind=int
        )

    def acknowledge_later(self, deliveries: Iterable[Delivery]) -> None:
        """Take labels whose samples the next checkpoint will hold as trained."""
        self._to_acknowledge += deliveries

    @property
    def waiting(self) -> bool:
        """Whether a label of any rank waits for a checkpoint."""
        return any(self._ranks.share(bool(self._to_acknowledge)))

    @property
    def idle(self) -> bool:
        """Whether the last checkpoint of this rank is long ago."""
        return time.monotonic() - self._checkpointed_at > _IDLE_CHECKPOINT_S

    def after_step(self) -> None:
        """Make a checkpoint, and a candidate, if this step is due for one."""
        step = self._student.state.step
        if step - self._proposed_step >= self._config.promotion.every_steps:
            self.checkpoint()
            self._propose()
        elif step % self._config.trainer.checkpoint_every_steps == 0:
            self.checkpoint()

    def finish(self) -> None:
        """Offer the last state as a candidate, unless it is one; call it after the last checkpoint."""
        if self._student.state.step > self._proposed_step:
            self._propose()

    def checkpoint(self) -> None:
        """Make the state durable, then acknowledge its labels: a crash in between repeats labels, never loses them."""
        if not self.waiting:
            return
        started = time.monotonic()
        self._ranks.require_equal(self._student.parameters)
        self._checkpoints += 1
        replay_files = self._replay.files() if self._replay else {}
        # Every rank waits here for rank 0: it goes on only when the checkpoint, with its own samples, is durable.
        name = self._ranks.from_first(lambda: self._write(replay_files), kind=str)
        crash_points.reach("trainer.after_checkpoint_before_ack")
        self._queue.acknowledge(self._to_acknowledge)
        crash_points.reach("trainer.after_ack")
        seconds = time.monotonic() - started
        self._role.log.info("checkpoint", name=name, acknowledged=len(self._to_acknowledge), seconds=round(seconds, 2))
        self._to_acknowledge = []
        self._checkpointed_at = time.monotonic()
        self._metrics.checkpoint_seconds.observe(seconds)
        self._metrics.last_checkpoint.set_to_current_time()
        if self._ranks.first:
            self._resume.prune(keep=self._config.trainer.keep_checkpoints)

    def _write(self, replay_files: Mapping[str, bytes]) -> str:
        crash_points.reach("trainer.before_checkpoint")
        state = self._student.state
        info = self._resume.write(
            f"student-e{state.epoch}-c{self._checkpoints:05d}-s{state.step}",
            {**self._student.resume_files(self._claims.trained()), **replay_files},
            order=(state.epoch, self._checkpoints),
            metadata={"step": state.step, "samples_trained": state.samples_trained},
        )
        self._metrics.checkpoint_bytes.set(info.size)
        return info.name

    def _propose(self) -> None:
        """Offer the student (or its EMA) as teacher; its state is already durable in a resume checkpoint."""
        state = self._student.state
        self._proposed_step = state.step
        if not self._ranks.first:
            return
        name = f"student-e{state.epoch}-s{state.step}"
        metadata = {"stage": "student", "step": state.step, "samples_trained": state.samples_trained}
        files = self._student.candidate_files(name, ledger=self._claims.trained(), promotions=self._role.promotions)
        self._role.checkpoints.write(name, files, order=(state.epoch, state.step), metadata=metadata)
        crash_points.reach("trainer.after_candidate_before_proposal")
        self._role.promotions.propose(name, epoch=state.epoch, step=state.step, metadata=metadata)
        crash_points.reach("trainer.after_proposal")
        self._role.log.info("candidate proposed", checkpoint=name, step=state.step)
