"""The promoter: puts every candidate before the gates, and writes the outcome into the promotion log."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from xpm_stream import crash_points
from xpm_stream.config import RunConfig
from xpm_stream.errors import PromotionConflict
from xpm_stream.registry.promotion_log import Candidate
from xpm_stream.stages.gate_keeping import GateKeeper, Interrupted, Judgement
from xpm_stream.stages.process import Role, open_queue, role_process
from xpm_stream.stages.pruning import Pruner
from xpm_stream.stages.queue_observer import QueueObserver


def run_promoter(config: RunConfig) -> None:
    """Promote until told to stop; what is proposed by then is judged, within half of the time there is to leave."""
    with (
        role_process("promoter", kind="promoter", config=config, port_offset=1) as role,
        open_queue(role) as queue,
        QueueObserver(queue, metrics=role.metrics),
    ):
        promoter = Promoter(role, shard_urls=lambda: [row.url for row in queue.shard_rows()])
        pruner = Pruner(role)
        while not role.stop.is_set():
            promoter.judge_pending()
            pruner.prune_if_due()
            role.watchdog.progress("waiting for a candidate")
            role.stop.wait(config.promotion.poll_s)
        promoter.judge_pending()


class Promoter:
    """Decides on candidates, oldest first."""

    def __init__(self, role: Role, *, shard_urls: Callable[[], Sequence[str]] = lambda: ()) -> None:
        self._role = role
        self._metrics = role.metrics.promoter
        self._keeper = GateKeeper(role, shard_urls=shard_urls)
        self._has_champion = False
        role.unready.append(lambda: None if self._has_champion else "no teacher is promoted yet")

    def judge_pending(self) -> int:
        """Decide every pending candidate; return how many were decided."""
        pending = self._role.promotions.pending_candidates()
        self._metrics.candidates_pending.set(len(pending))
        decided = 0
        try:
            for candidate in pending:
                decided += self._judge(candidate)
            self._keeper.measure_champion()
        except Interrupted:
            self._role.log.info("told to stop while measuring: the candidate stays pending")
        self._show()
        return decided

    def _judge(self, candidate: Candidate) -> bool:
        started = time.monotonic()
        known = len(self._role.promotions.entries())  # a person may roll back while a candidate is measured
        judgement = self._keeper.judge(candidate)
        crash_points.reach("promoter.before_log")
        try:
            entry = self._role.promotions.append(
                judgement.action,
                candidate=candidate.number,
                by=self._role.name,
                reasons=judgement.reasons,
                checks={"gates": [gate.as_dict() for gate in judgement.gates]},
                after=known,
            )
        except PromotionConflict as conflict:  # another's entry stands; a candidate still pending is judged again
            self._metrics.conflicts.inc()
            self._role.log.info("somebody else wrote", candidate=candidate.number, conflict=str(conflict))
            return False
        crash_points.reach("promoter.after_log")
        self._metrics.promotion_seconds.observe(time.monotonic() - started)
        self._count(judgement)
        self._role.log.info(
            judgement.action,
            number=entry.number,
            checkpoint=entry.checkpoint,
            step=entry.step,
            reasons=judgement.reasons,
        )
        return True

    def _count(self, judgement: Judgement) -> None:
        self._metrics.decisions.labels(judgement.action).inc()
        for gate in judgement.gates:
            self._metrics.gate_results.labels(gate.gate, gate.outcome).inc()
            if gate.value is not None:
                self._metrics.gate_value.labels(gate.gate).set(gate.value)
            if gate.limit is not None:
                self._metrics.gate_limit.labels(gate.gate).set(gate.limit)

    def _show(self) -> None:
        self._metrics.candidates_pending.set(len(self._role.promotions.pending_candidates()))
        self._metrics.consecutive_failures.set(self._keeper.failures)
        self._metrics.held.set(self._keeper.held)
        champion = self._role.promotions.champion()
        if champion is not None:
            self._has_champion = True
            self._metrics.champion_version.set(champion.number)
            self._metrics.last_promotion.set(champion.created_at_s)
