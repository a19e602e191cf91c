"""The model card of a teacher or candidate, written from what its trainer knows of it."""

from __future__ import annotations

import time

from xpm_stream.config import RunConfig
from xpm_stream.label_queue import TrainedLedger
from xpm_stream.registry.model_card import MODEL_CARD, Lineage, ModelCard, Parent, render_model_card
from xpm_stream.registry.promotion_log import PromotionLog
from xpm_stream.stages.training_state import TrainingState
from xpm_stream.version import __version__


def teacher_card(name: str, *, config: RunConfig, base_classes: int, step: int) -> dict[str, bytes]:
    """Return the card of a first teacher, as a checkpoint's file."""
    lineage = Lineage(base_set=_base_set(config), run=config.name, code_version=__version__)
    return _file(name, config=config, epoch=0, step=step, vocabulary={"base": base_classes}, lineage=lineage)


def student_card(
    name: str,
    *,
    config: RunConfig,
    base_classes: int,
    state: TrainingState,
    ledger: TrainedLedger,
    promotions: PromotionLog,
) -> dict[str, bytes]:
    """Return the card of a student, as a checkpoint's file: which teachers' labels it learned, from how many shards."""
    names = {entry.number: entry.checkpoint for entry in promotions.entries()}
    tallies = sorted(((int(number), tally) for number, tally in state.by_teacher.items()), reverse=True)
    parents = [
        Parent(checkpoint=names.get(number, "unknown"), promotion=number, labels_trained=tally.samples)
        for number, tally in tallies
    ]
    lineage = Lineage(
        parents=parents,
        shards=sum(1 for _ in ledger.shards()),
        samples=_samples(state),
        ledger_sha256=ledger.digest(),
        base_set=_base_set(config),
        run=config.name,
        code_version=__version__,
    )
    vocabulary = {"base": base_classes}
    return _file(name, config=config, epoch=state.epoch, step=state.step, vocabulary=vocabulary, lineage=lineage)


def _samples(state: TrainingState) -> dict[str, int]:
    counts = {"trained": state.samples_trained, "relabelled": state.samples_relabelled}
    return counts | {"replayed": state.samples_replayed} if state.samples_replayed else counts


def _file(
    name: str, *, config: RunConfig, epoch: int, step: int, vocabulary: dict[str, int], lineage: Lineage
) -> dict[str, bytes]:
    card = ModelCard(
        name=name,
        method=config.method,
        epoch=epoch,
        step=step,
        created_at_s=time.time(),
        lineage=lineage,
        architecture=config.model.model_dump(mode="json"),
        vocabulary=vocabulary,
    )
    return {MODEL_CARD: render_model_card(card).encode()}


def _base_set(config: RunConfig) -> str | None:
    return config.data.base.annotations if config.data.base else None
