"""Run folders with a history, for tests of what shows them: drift windows, promotions, a real queue, a checkpoint."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import yaml

from xpm_stream.config import RunConfig, load_config
from xpm_stream.label_queue import CommitBatch, Cursor, LabelQueue, Reject, ShardRecord, TrainedLedger, connect
from xpm_stream.monitoring.drift_records import QueueInWindow, WindowRecord, WordInWindow, encode_window
from xpm_stream.monitoring.drift_statistics import WordChange
from xpm_stream.monitoring.drift_verdicts import DriftVerdict, QuantityLevel, StatisticVerdict
from xpm_stream.monitoring.summary import ModelScores, SplitScores
from xpm_stream.records import (
    ImageReference,
    InstanceAnnotation,
    LabelMessage,
    PseudoInstance,
    SampleId,
    ShardId,
    TeacherVersion,
)
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.registry.promotion_log import PromotionLog
from xpm_stream.registry.store import open_store
from xpm_stream.stages.training_state import TRAINING, TrainingState

START_S = 1_790_000_000.0
QUANTITIES = ("reliability", "score", "nouns_per_caption", "box_area_share", "instances_per_label", "words")
GATES = [
    {"gate": "files", "outcome": "pass", "value": None, "limit": None, "why": "files whole, weights finite"},
    {"gate": "base_ap50", "outcome": "pass", "value": 47.25, "limit": 40.1, "why": "champion 45.1, at most 5 below"},
    {"gate": "canary_agreement", "outcome": "pass", "value": 0.62, "limit": 0.1, "why": ""},
    {"gate": "word_entropy", "outcome": "unknown", "value": None, "limit": 0.5, "why": "no canary set yet"},
]
REFUSED = [
    *GATES[:2],
    {"gate": "canary_agreement", "outcome": "fail", "value": 0.04, "limit": 0.1, "why": "too little agreement"},
]


def verdict(reference: str, *, ratio: float, number: int, changed: list[WordChange] | None = None) -> DriftVerdict:
    """A verdict whose reliability is at `ratio` of its threshold, the other quantities far below theirs."""
    ratios = {
        quantity: ratio if quantity == "reliability" else 0.3 + 0.02 * place
        for place, quantity in enumerate(QUANTITIES)
    }
    started = START_S + number * 60
    return DriftVerdict(
        status="drift" if ratio > 1 else "no_drift",
        reference=reference,
        reference_teacher="v1",
        teacher="v1",
        teachers={"v1": 500},
        num_labels=500,
        started_at_s=started,
        ended_at_s=started + 60,
        false_alarm_windows=1000.0,
        statistics=[
            StatisticVerdict(
                quantity=quantity,
                statistic=statistic,
                value=0.2 * times * share,
                threshold=0.2,
                above=times * share > 1,
            )
            for quantity, times in ratios.items()
            for statistic, share in (("psi", 1.0), ("jensen_shannon", 0.7))
        ],
        levels=[QuantityLevel(quantity="reliability", num_values=700, level=0.6, reference_level=0.62)],
        changed_words=changed or [],
    )


def window(
    number: int,
    *,
    median: float | None = 0.6,
    ratio: float = 0.4,
    previous_ratio: float | None = None,
    teacher: str = "v1",
    brake: bool = False,
    words: tuple[str, ...] = ("dog", "umbrella", "coffee cup"),
    rate: float = 40.0,
    unacked: int = 900,
    missed: int = 0,
) -> WindowRecord:
    """One window of a minute; drifted where a ratio is above 1."""
    changed = [
        WordChange(word=word, reference_share=0.02 * place + 0.01, window_share=0.05, contribution=0.4 / (place + 1))
        for place, word in enumerate(words)
    ]
    verdicts = [verdict("frozen", ratio=ratio, number=number, changed=changed)]
    if previous_ratio is not None:
        verdicts.append(verdict("previous_teacher", ratio=previous_ratio, number=number, changed=changed[:1]))
    drifted = [one for one in verdicts if one.status == "drift"]
    quantiles = None if median is None else _quantiles(median)
    return WindowRecord(
        number=number,
        started_at_s=START_S + number * 60,
        ended_at_s=START_S + number * 60 + 60,
        num_labels=500,
        labels_seen=number * 500,
        labels_missed=missed,
        teacher=teacher,
        teachers={teacher: 480, "v0": 20},
        verdicts=verdicts,
        cause=("teacher" if len(drifted) > 1 else "data") if drifted else None,
        quantiles={"reliability": quantiles, "score": quantiles},
        instances_per_label=1.4,
        words=[
            WordInWindow(
                word=word, mentions=120 - 9 * place, reliability=None if median is None else median - 0.02 * place
            )
            for place, word in enumerate(words)
        ],
        labels_per_second=rate,
        queue=QueueInWindow(
            unacked_labels=unacked,
            unacked_bytes=unacked * 570,
            oldest_label_age_s=12.0,
            relabels=3,
            dead_letters=1,
            shards_pending=4,
            shards_leased=2,
            shards_finished=6,
            shards_failed=0,
            labels_committed=number * 500,
            labels_acknowledged=number * 500 - unacked,
        ),
        brake=brake,
        brake_since_s=START_S + number * 60 if brake else None,
        brake_reasons=["reliability against frozen and previous_teacher"] if brake else [],
    )


def history(windows: int, *, drift_at: range = range(0)) -> list[WindowRecord]:
    """A run of `windows` windows with three teachers, that drifts in `drift_at`."""
    found = []
    for number in range(1, windows + 1):
        drifted = number in drift_at
        wave = 0.04 * math.sin(number / 3.1) + 0.02 * math.sin(number * 1.7)
        found.append(
            window(
                number,
                median=0.38 + wave / 2 if drifted else 0.52 + 0.1 * number / windows + wave,
                ratio=3.5 + math.sin(number) if drifted else 0.45 + 0.3 * abs(math.sin(number / 2.3)),
                previous_ratio=2.1 if drifted else 0.3 + 0.3 * abs(math.cos(number / 1.9)),
                teacher=f"v{1 + 3 * number // (windows + 1)}",
                brake=drifted,
                words=(
                    "person",
                    "dog",
                    "umbrella",
                    "coffee cup",
                    "bicycle",
                    "kite",
                    "sandwich",
                    "traffic light",
                    "vase",
                ),
                rate=42 + 9 * math.sin(number / 4),
                unacked=int(900 + 600 * math.sin(number / 5)),
            )
        )
    return found


def write_windows(registry: Path, records: list[WindowRecord]) -> None:
    """Write records where a monitor does."""
    store = open_store(registry)
    for record in records:
        store.create(f"drift/windows/{record.number:08d}.json", encode_window(record))


def write_promotions(registry: Path, *, every_s: float = 1200.0) -> PromotionLog:
    """A log of four decisions: promote, promote, refuse, promote."""
    clock = iter(START_S + 30 + every_s * number for number in range(100))
    log = PromotionLog(registry, clock=lambda: next(clock))
    for step, (action, gates) in enumerate(
        (("promote", None), ("promote", GATES), ("refuse", REFUSED), ("promote", GATES))
    ):
        log.append(
            action,
            by="promoter",
            checkpoint=f"s{step * 500}",
            epoch=min(step, 1),
            step=step * 500,
            reasons=["canary_agreement 0.04 is below 0.1"] if action == "refuse" else ["all gates passed"],
            checks={} if gates is None else {"gates": gates},
        )
    return log


def make_run(
    folder: Path, *, records: list[WindowRecord] | None = None, queue: bool = True, **settings: object
) -> RunConfig:
    """A run folder as a stopped `up` leaves it: configuration, registry, evaluation, and the embedded queue."""
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump({"name": "sample", "folder": str(folder), **settings}))
    config = load_config(folder / "config.yaml")
    write_windows(folder / "registry", history(12, drift_at=range(5, 7)) if records is None else records)
    write_promotions(folder / "registry")
    (folder / "evaluations").mkdir()
    (folder / "evaluations" / "s1500.json").write_bytes(msgspec.json.encode(scores("s1500")))
    if queue:
        with connect(config.redis, config.queue, run_folder=folder) as opened:
            fill_queue(opened, registry=folder / "registry")
    return config


def fill_queue(queue: LabelQueue, *, registry: Path) -> None:
    """A shard of 30 samples (4 without nouns, 1 broken, 15 trained in a durable checkpoint), and a second one."""
    queue.add_shards([ShardRecord(url=f"s3://key:secret@bucket/{name}.tar", shard_id=ShardId(name)) for name in "ab"])
    lease = queue.acquire("labeler-0")
    assert lease is not None
    batch = CommitBatch(
        cursor=Cursor(30, 9000),
        labels=[_label(lease.shard.sample(ordinal)) for ordinal in range(5, 30)],
        skips={"no_nouns": [0, 1, 2, 3]},
        rejects=[Reject(ordinal=4, reason="image_broken", detail="cut short", byte_offset=512)],
        finished=True,
    )
    queue.commit(lease, batch)
    queue.raise_epoch()
    trained = queue.read("rank0", count=15)
    ledger, state = TrainedLedger(), TrainingState(step=1500, epoch=1, samples_trained=len(trained))
    for delivery in trained:
        assert delivery.message is not None
        ledger.add(delivery.message.sample)
    CheckpointStore(f"{registry}/resume").write("e1-s1500", {TRAINING: state.encode(ledger.to_dict())}, order=(1, 1500))
    queue.acknowledge(trained)


def scores(checkpoint: str) -> ModelScores:
    """An evaluation: 58.25 over all classes."""

    def of(value: float) -> SplitScores:
        return SplitScores(mask_ap50=value, box_ap50=value + 1, mask_ap=value / 2, box_ap=None, num_instances=120)

    return ModelScores(
        checkpoint=checkpoint,
        num_images=40,
        constrained={"base": of(60.5), "target": of(57.5)},
        generalized={"base": of(59.0), "target": of(54.5), "all": of(58.25)},
    )


def _label(sample: SampleId) -> LabelMessage:
    found = PseudoInstance(word="dog", box_xyxy=(0, 0, 8, 8), mask_bits=bytes(98), score=0.75, reliability=0.5)
    return LabelMessage(
        method="xpm",
        sample=sample,
        teacher=TeacherVersion(4, 1, 1500),
        image=ImageReference(url="s3://bucket/a.tar", offset=1536, size=4321),
        image_size_wh=(640, 480),
        words=["dog"],
        annotation=InstanceAnnotation(instances=[found]),
        labelled_at_s=START_S,
    )


def _quantiles(median: float) -> dict[str, float]:
    around = {"0.05": -0.3, "0.25": -0.12, "0.5": 0.0, "0.75": 0.13, "0.95": 0.27}
    return {name: min(max(median + away, 0.0), 1.0) for name, away in around.items()}
