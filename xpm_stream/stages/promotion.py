"""The promoter: judges every candidate the trainer proposes, and writes the outcome into the promotion log."""

from __future__ import annotations

import time

import numpy as np
import safetensors
import safetensors.numpy

from xpm_stream import crash_points
from xpm_stream.config import RunConfig
from xpm_stream.errors import CheckpointError, PromotionConflict
from xpm_stream.registry.promotion_log import Action, Candidate
from xpm_stream.stages.process import Role, open_queue, role_process
from xpm_stream.stages.queue_observer import QueueObserver

_WEIGHTS = "model.safetensors"


def run_promoter(config: RunConfig) -> None:
    """Promote until told to stop; candidates already proposed are judged before it leaves."""
    with (
        role_process("promoter", kind="promoter", config=config, port_offset=1) as role,
        open_queue(role) as queue,
        QueueObserver(queue, metrics=role.metrics),
    ):
        promoter = Promoter(role)
        while not role.stop.is_set():
            promoter.judge_pending()
            role.watchdog.progress("waiting for a candidate")
            role.stop.wait(config.promotion.poll_s)
        promoter.judge_pending()


class Promoter:
    """Decides on candidates, oldest first."""

    def __init__(self, role: Role) -> None:
        self._role = role
        self._metrics = role.metrics.promoter
        self._has_champion = False
        role.unready.append(lambda: None if self._has_champion else "no teacher is promoted yet")

    def judge_pending(self) -> int:
        """Decide every pending candidate; return how many were decided."""
        pending = self._role.promotions.pending_candidates()
        self._metrics.candidates_pending.set(len(pending))
        decided = sum(self._judge(candidate) for candidate in pending)
        champion = self._role.promotions.champion()
        if champion is not None:
            self._has_champion = True
            self._metrics.champion_version.set(champion.number)
            self._metrics.last_promotion.set(champion.created_at_s)
        return decided

    def _judge(self, candidate: Candidate) -> bool:
        started = time.monotonic()
        action, reasons, checks = self._verdict(candidate)
        crash_points.reach("promoter.before_log")
        try:
            entry = self._role.promotions.append(
                action, candidate=candidate.number, by=self._role.name, reasons=reasons, checks=checks
            )
        except PromotionConflict:  # another promoter was first: its decision stands
            self._metrics.conflicts.inc()
            self._role.log.info("another promoter decided", candidate=candidate.number)
            return False
        crash_points.reach("promoter.after_log")
        self._metrics.decisions.labels(action).inc()
        self._metrics.promotion_seconds.observe(time.monotonic() - started)
        self._role.log.info(action, number=entry.number, checkpoint=entry.checkpoint, step=entry.step, reasons=reasons)
        return True

    def _verdict(self, candidate: Candidate) -> tuple[Action, list[str], dict[str, object]]:
        """The files must be whole and every weight finite: a teacher of NaNs would label nothing from then on.

        A trainer that was frozen while a newer one took over may wake up in the middle of a proposal.
        """
        earlier = (c.epoch for c in self._role.promotions.candidates() if c.number < candidate.number)
        newest = max(earlier, default=0)
        if 0 < candidate.epoch < newest:  # epoch 0: not of a trainer, but of teacher training or a person
            reason = f"its trainer (epoch {candidate.epoch}) was replaced: epoch {newest} has proposed before it"
            return "refuse", [reason], {"epoch_current": False}
        try:
            files = self._role.checkpoints.read(candidate.checkpoint)
            weights = safetensors.numpy.load(files[_WEIGHTS])
        except (CheckpointError, KeyError, safetensors.SafetensorError) as error:
            return "refuse", [f"the checkpoint cannot be read: {error}"], {"readable": False}
        bad = [name for name, value in weights.items() if not np.isfinite(value).all()]
        checks: dict[str, object] = {"readable": True, "weights_finite": not bad}
        if bad:
            return "refuse", [f"{len(bad)} tensors are not finite, first {bad[0]}"], checks
        return "promote", ["files whole, weights finite"], checks
