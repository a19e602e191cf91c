"""What is done when a run has streamed its corpus: evaluate, draw, audit, and write the summary."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from xpm_stream.errors import RegistryError
from xpm_stream.label_queue import AuditReport
from xpm_stream.monitoring.summary import (
    FINAL_STUDENT,
    FIRST_TEACHER,
    ModelScores,
    PromotionRecord,
    RunSummary,
    describe_machine,
    describe_versions,
    write_summary,
)
from xpm_stream.registry.promotion_log import PromotionEntry
from xpm_stream.stages.local import LocalRun
from xpm_stream.stages.run_account import RunAccount, account_of
from xpm_stream.stages.training_state import TeacherTally, TrainingState


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a finished run leaves."""

    summary: RunSummary
    audit: AuditReport
    failed_shards: int  # shards that could not be read at all
    picture: Path

    @property
    def ok(self) -> bool:
        """Whether every sample of every shard is accounted for."""
        return self.audit.ok and not self.failed_shards


def close_run(run: LocalRun, *, on_stage: Callable[[str], None], on_look: Callable[[], None]) -> Outcome:
    """Judge first teacher and final student, draw pseudo labels, audit, and write summary.json.

    Raises:
        RegistryError: no teacher was ever promoted.
    """
    entries = run.promotions()
    promoted = [entry for entry in entries if entry.action == "promote"]
    if not promoted:
        raise RegistryError(f"{run.folder.root} has no promoted teacher: nothing to evaluate")
    first, last = promoted[0], promoted[-1]
    scores: Mapping[str, ModelScores] = {}
    if run.config.data.val is not None:
        on_stage("evaluating")
        scores = run.evaluate({FIRST_TEACHER: first.checkpoint, FINAL_STUDENT: last.checkpoint}, on_look=on_look)
    on_stage("drawing pseudo labels")
    picture = run.show(last.checkpoint, on_look=on_look)
    on_stage("auditing")
    with run.stopwatch.stage("audit"):
        account = account_of(run.config)
    summary = RunSummary(
        name=run.config.name,
        method=run.config.method,
        seed=run.config.seed,
        models={
            label: msgspec.structs.replace(scores[label], promotion=entry.number, step=entry.step)
            for label, entry in ((FIRST_TEACHER, first), (FINAL_STUDENT, last))
            if label in scores
        },
        promotions=[_record(entry, account.training) for entry in entries],
        seconds=dict(run.stopwatch.seconds),
        samples=account.counts(),
        notes=_notes(account),
        versions=describe_versions(),
        machine=describe_machine(),
    )
    write_summary(summary, run.folder.summary)
    return Outcome(summary, account.audit, account.stats.shards_failed, picture)


def _notes(account: RunAccount) -> list[str]:
    notes = []
    if account.stats.shards_failed:
        notes.append(f"{account.stats.shards_failed} shards could not be read: see `xpm-stream shards list`")
    if account.stats.dead_letters:
        notes.append(f"{account.stats.dead_letters} samples are dead letters, by reason: {account.stats.dead}")
    return notes


def _record(entry: PromotionEntry, training: TrainingState) -> PromotionRecord:
    tally = training.by_teacher.get(str(entry.number), TeacherTally())
    rated = tally.instances_with_reliability
    return PromotionRecord(
        number=entry.number,
        action=entry.action,
        checkpoint=entry.checkpoint,
        epoch=entry.epoch,
        step=entry.step,
        created_at_s=entry.created_at_s,
        labels=tally.samples,
        mean_reliability=tally.reliability_sum / rated if rated else None,
        reasons=list(entry.reasons),
    )
