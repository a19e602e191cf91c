"""A candidate before the gates: what is checked at once, what is measured, and what comes of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import safetensors
import safetensors.numpy

from xpm_stream.errors import CheckpointError, DataError, RegistryError
from xpm_stream.monitoring.drift_store import DriftStore
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.registry.gates import GateResult, Progress, Verdict, check_progress, compare, verdict_of
from xpm_stream.registry.promotion_log import Candidate, PromotionEntry
from xpm_stream.stages.process import Role

if TYPE_CHECKING:
    from xpm_stream.stages.gate_measures import GateMeter

_WEIGHTS = "model.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What becomes of a candidate, and why."""

    action: Verdict
    reasons: list[str]
    gates: list[GateResult]


class GateKeeper:
    """Judges candidates against the champion. Measuring needs torch, which is imported when it is first needed."""

    def __init__(self, role: Role, *, shard_urls: Callable[[], Sequence[str]] = lambda: ()) -> None:
        self._role = role
        self._config = role.config.promotion.gates
        self._store = role.open_registry("")
        self._drift = DriftStore(self._store)
        self._shard_urls = shard_urls  # of the queue's ledger: the corpus may be known there only
        self._meter: GateMeter | None = None
        self._measured_champion: str | None = None
        self._told_to_stop_s: float | None = None  # monotonic

    def judge(self, candidate: Candidate) -> Judgement:
        """Return the verdict on a candidate.

        Raises:
            RegistryError: the promotion log cannot be read.
        """
        gates = self._at_once(candidate)
        if any(one.outcome == "fail" for one in gates):
            return _judgement(gates)
        champion = self._role.promotions.champion()
        if not self._config.enabled:
            return _judgement(gates)
        if champion is None:
            return _judgement(gates, more="the first teacher: there is no champion to compare it with")
        if self.held:
            return Judgement(action="inconclusive", reasons=[self._why_held()], gates=gates)
        gates += check_progress(self._progress(candidate, champion), self._config)
        gates += self._brake()
        if any(one.outcome != "pass" for one in gates):
            return _judgement(gates)  # what must wait need not be measured
        return self._measured(candidate, champion, gates)

    def measure_champion(self) -> None:
        """Have the champion measured if it is not: the drift monitor needs its canary labels, whoever promoted it."""
        champion = self._role.promotions.champion()
        if not self._config.enabled or champion is None or champion.checkpoint == self._measured_champion:
            return
        self._measured_champion = champion.checkpoint  # tried once: a candidate's judgement tries again
        try:
            meter = self._meter or self._make_meter()
            if meter.has_images:
                meter.measure(champion.checkpoint)
        except (CheckpointError, DataError, RegistryError) as error:
            self._role.metrics.count_error(error)
            self._role.log.warning("the champion could not be measured", checkpoint=champion.checkpoint, why=str(error))

    @property
    def failures(self) -> int:
        """Candidates refused since the last promotion or rollback."""
        failures = 0
        for entry in reversed(self._role.promotions.entries()):
            if entry.is_promotion:
                break
            failures += entry.action == "refuse"
        return failures

    @property
    def held(self) -> bool:
        """Whether so many candidates were refused that a person has to decide."""
        return self._config.enabled and self.failures >= self._config.max_failures

    def _why_held(self) -> str:
        return (
            f"{self.failures} candidates in a row were refused (promotion.gates.max_failures): look at "
            "`xpm-stream checkpoints history`, then promote one with `xpm-stream checkpoints promote`, or roll back"
        )

    def _at_once(self, candidate: Candidate) -> list[GateResult]:
        """The files must be whole and every weight finite: a teacher of NaNs would label nothing from then on.

        A trainer that was frozen while a newer one took over may wake up in the middle of a proposal.
        """
        earlier = (c.epoch for c in self._role.promotions.candidates() if c.number < candidate.number)
        newest = max(earlier, default=0)
        if 0 < candidate.epoch < newest:  # epoch 0: not of a trainer, but of teacher training or a person
            why = f"its trainer (epoch {candidate.epoch}) was replaced: epoch {newest} has proposed before it"
            return [GateResult(gate="epoch", outcome="fail", value=candidate.epoch, limit=newest, why=why)]
        return [check_files(self._role.checkpoints, candidate.checkpoint)]

    def _progress(self, candidate: Candidate, champion: PromotionEntry) -> Progress:
        if not candidate.epoch:  # not of a trainer: a first teacher, or a person's
            return Progress()
        trained = candidate.metadata.get("samples_trained")
        before = 0
        if champion.epoch:
            of_champion = [one for one in self._role.promotions.candidates() if one.checkpoint == champion.checkpoint]
            before = max((one.metadata.get("samples_trained", 0) for one in of_champion), default=0)
        return Progress(
            steps=candidate.step - (champion.step if champion.epoch else 0),
            samples=None if trained is None else trained - before,
        )

    def _brake(self) -> list[GateResult]:
        try:
            newest = self._drift.newest_window()
        except RegistryError as error:
            return [GateResult(gate="drift_brake", outcome="unknown", why=str(error))]
        if newest is None:  # no monitor has judged anything yet
            return []
        if newest.brake:
            why = f"drift holds promotions back: {'; '.join(newest.brake_reasons)}"
            return [GateResult(gate="drift_brake", outcome="unknown", value=1, limit=0, why=why)]
        return [GateResult(gate="drift_brake", outcome="pass", value=0, limit=0, why="no drift")]

    def _measured(self, candidate: Candidate, champion: PromotionEntry, gates: list[GateResult]) -> Judgement:
        try:
            meter = self._meter or self._make_meter()
            if not meter.has_images:
                return _judgement(gates, more="not measured: neither data.val nor a canary set is there")
            with self._role.metrics.promoter.gate_seconds.time():
                before = meter.measure(champion.checkpoint)
                now = meter.measure(candidate.checkpoint)
            agreement = meter.agreement(champion.checkpoint, candidate.checkpoint)
        except (CheckpointError, DataError, RegistryError) as error:
            self._role.metrics.count_error(error)
            why = f"it could not be measured: {error}"
            return _judgement([*gates, GateResult(gate="files", outcome="unknown", why=why)])
        return _judgement([*gates, *compare(now, before, agreement=agreement, config=self._config)])

    def _make_meter(self) -> GateMeter:
        from xpm_stream.stages.canary_set import canary_set
        from xpm_stream.stages.gate_measures import GateMeter

        config = self._role.config
        canary = canary_set(self._store, config, urls=self._shard_urls())
        meter = GateMeter(
            config,
            store=self._store,
            checkpoints=self._role.checkpoints,
            canary=canary,
            on_progress=self._on_progress,
        )
        if canary is not None or not self._config.canary_images:
            self._meter = meter  # else a growing corpus is looked at again for the next candidate
        return meter

    def _on_progress(self) -> None:
        self._role.watchdog.progress("measuring a candidate")
        if not self._role.stop.is_set():
            return
        self._told_to_stop_s = self._told_to_stop_s or time.monotonic()
        if time.monotonic() - self._told_to_stop_s > self._role.config.promotion.stop_timeout_s / 2:
            raise Interrupted


class Interrupted(Exception):
    """Told to stop, and half of its time to leave is over: the candidate stays pending for the next promoter."""


def _judgement(gates: list[GateResult], *, more: str | None = None) -> Judgement:
    action, reasons = verdict_of(gates)
    return Judgement(action=action, reasons=[*reasons, more] if more else reasons, gates=gates)


def check_files(checkpoints: CheckpointStore, checkpoint: str) -> GateResult:
    """Return whether a checkpoint's files are whole and all its weights finite."""
    try:
        files = checkpoints.read(checkpoint)
        weights = safetensors.numpy.load(files[_WEIGHTS])
    except (CheckpointError, KeyError, safetensors.SafetensorError) as error:
        return GateResult(gate="files", outcome="fail", why=f"the checkpoint cannot be read: {error}")
    bad = [name for name, value in weights.items() if not np.isfinite(value).all()]
    if bad:
        why = f"{len(bad)} tensors are not finite, first {bad[0]}"
        return GateResult(gate="files", outcome="fail", value=len(bad), limit=0, why=why)
    return GateResult(gate="files", outcome="pass", why="files whole, weights finite")
