"""README.md and metrics.json of a teacher or candidate, written from what its trainer knows of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from xpm_stream.config import RunConfig
from xpm_stream.label_queue import TrainedLedger
from xpm_stream.registry.inventory import METRICS
from xpm_stream.registry.model_card import MODEL_CARD, Lineage, ModelCard, Parent, render_model_card
from xpm_stream.registry.promotion_log import PromotionEntry, PromotionLog
from xpm_stream.stages.training_state import TeacherTally, TrainingState
from xpm_stream.version import __version__


def teacher_card(
    name: str, *, config: RunConfig, base_classes: int, step: int, caption_words: int = 0
) -> dict[str, bytes]:
    """Return the card and metrics of a first teacher, as a checkpoint's files."""
    lineage = Lineage(base_set=_base_set(config), run=config.name, code_version=__version__)
    facts = _Facts(name=name, config=config, epoch=0, step=step, words=_words(base_classes, caption_words))
    return facts.files(lineage, teachers=[])


def student_card(
    name: str,
    *,
    config: RunConfig,
    base_classes: int,
    state: TrainingState,
    ledger: TrainedLedger,
    promotions: PromotionLog,
    caption_words: int = 0,
) -> dict[str, bytes]:
    """Return the card and metrics of a student, as a checkpoint's files: whose labels it learned, from what."""
    entries = {entry.number: entry for entry in promotions.entries()}
    tallies = sorted(((int(number), tally) for number, tally in state.by_teacher.items()), reverse=True)
    teachers = [_Teacher.of(number, tally, entries.get(number)) for number, tally in tallies]
    lineage = Lineage(
        parents=[
            Parent(checkpoint=one.checkpoint, promotion=one.promotion, labels_trained=one.labels_trained)
            for one in teachers
        ],
        shards=sum(1 for _ in ledger.shards()),
        samples=_samples(state),
        ledger_sha256=ledger.digest(),
        base_set=_base_set(config),
        run=config.name,
        code_version=__version__,
    )
    words = _words(base_classes, caption_words)
    facts = _Facts(name=name, config=config, epoch=state.epoch, step=state.step, words=words)
    return facts.files(lineage, teachers=teachers)


class _Teacher(msgspec.Struct, frozen=True, kw_only=True):
    """A teacher in metrics.json: what was learned of it, and what the gates said when it was promoted."""

    checkpoint: str
    promotion: int
    labels_trained: int
    instances: int
    mean_reliability: float | None  # of its labels that were trained, 0..1
    action: str | None  # of its entry in the promotion log
    reasons: list[str]
    gates: list[dict[str, Any]]

    @classmethod
    def of(cls, number: int, tally: TeacherTally, entry: PromotionEntry | None) -> _Teacher:
        with_reliability = tally.instances_with_reliability
        return cls(
            checkpoint=entry.checkpoint if entry else "unknown",
            promotion=number,
            labels_trained=tally.samples,
            instances=tally.instances,
            mean_reliability=tally.reliability_sum / with_reliability if with_reliability else None,
            action=entry.action if entry else None,
            reasons=list(entry.reasons) if entry else [],
            gates=list(entry.checks.get("gates", [])) if entry else [],
        )


class _Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a card and its metrics say beside the lineage."""

    name: str
    config: RunConfig
    epoch: int
    step: int
    words: dict[str, int]

    def files(self, lineage: Lineage, *, teachers: Sequence[_Teacher]) -> dict[str, bytes]:
        created_at_s = time.time()
        card = ModelCard(
            name=self.name,
            method=self.config.method,
            epoch=self.epoch,
            step=self.step,
            created_at_s=created_at_s,
            lineage=lineage,
            architecture=self.config.model.model_dump(mode="json"),
            vocabulary=self.words,
            gate=_gate_lines(self.name, teachers),
        )
        metrics = {
            "schema_version": 1,
            "checkpoint": self.name,
            "method": self.config.method,
            "code_version": lineage.code_version,
            "created_at_s": created_at_s,
            "epoch": self.epoch,
            "step": self.step,
            "words": self.words,
            "caption_shards": lineage.shards,
            "samples": lineage.samples,
            "ledger_sha256": lineage.ledger_sha256,
            "teachers": teachers,
        }
        encoded = msgspec.json.format(msgspec.json.encode(metrics), indent=1)
        return {MODEL_CARD: render_model_card(card).encode(), METRICS: encoded + b"\n"}


def _gate_lines(name: str, teachers: Sequence[_Teacher]) -> list[str]:
    lines = [
        f"`{name}` was judged after this was written: the entry of its registry's `promotions/` that names it has the "
        "report (`xpm-stream checkpoints show`)"
    ]
    if teachers:
        nearest = teachers[0]
        said = "; ".join(nearest.reasons) or "nothing"
        lines.append(f"its nearest teacher `{nearest.checkpoint}`, entry {nearest.promotion}: {said}")
    return lines


def _words(base_classes: int, caption_words: int) -> dict[str, int]:
    return {"base": base_classes} | ({"captions": caption_words} if caption_words else {})


def _samples(state: TrainingState) -> dict[str, int]:
    counts = {"trained": state.samples_trained, "relabelled": state.samples_relabelled}
    return counts | {"replayed": state.samples_replayed} if state.samples_replayed else counts


def _base_set(config: RunConfig) -> str | None:
    """The annotations' file name alone: a card goes out into the world, the folders of the machine need not."""
    return config.data.base.annotations.rpartition("/")[2] if config.data.base else None
