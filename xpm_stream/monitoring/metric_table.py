"""All metrics of a run in one table: a small dataclass for each role, one field for each metric.

Names follow Prometheus' conventions: prefix `xpm_`, base units in the name, `_total` on counters, bounded labels (never
a shard, a sample or a version). `docs/metrics.md` is written from this file.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from prometheus_client import Counter, Gauge, Histogram

from xpm_stream.monitoring.metric_spec import (
    COUNT_BUCKETS,
    FRACTION_BUCKETS,
    LAG_BUCKETS,
    LONG_SECONDS_BUCKETS,
    NOISE_BUCKETS,
    SECONDS_BUCKETS,
    counter,
    gauge,
    histogram,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelerMetrics:
    """What a labeler reads, labels and waits for."""

    TITLE: ClassVar[str] = "Labeler"

    samples_read: Annotated[Counter, counter("xpm_labeler_samples_read_total", "Samples read from caption shards.")]
    samples_labelled: Annotated[
        Counter, counter("xpm_labeler_samples_labelled_total", "Samples whose labels were committed.")
    ]
    samples_skipped: Annotated[
        Counter,
        counter(
            "xpm_labeler_samples_skipped_total", "Samples without anything to label, by reason.", labels=("reason",)
        ),
    ]
    samples_rejected: Annotated[
        Counter,
        counter("xpm_labeler_samples_rejected_total", "Samples that could not be used, by reason.", labels=("reason",)),
    ]
    samples_relabelled: Annotated[
        Counter, counter("xpm_labeler_samples_relabelled_total", "Stale or revoked labels replaced by this labeler.")
    ]
    batches: Annotated[Counter, counter("xpm_labeler_batches_total", "Batches committed to the label queue.")]
    label_seconds: Annotated[
        Histogram,
        histogram("xpm_labeler_label_seconds", "Seconds the teacher took to label one batch.", buckets=SECONDS_BUCKETS),
    ]
    commit_seconds: Annotated[
        Histogram,
        histogram(
            "xpm_labeler_commit_seconds", "Seconds one batch's commit to the queue took.", buckets=SECONDS_BUCKETS
        ),
    ]
    read_wait_seconds: Annotated[
        Counter,
        counter("xpm_labeler_read_wait_seconds_total", "Seconds the teacher waited for images to be read and decoded."),
    ]
    captions: Annotated[Counter, counter("xpm_labeler_captions_total", "Captions read.")]
    captions_without_nouns: Annotated[
        Counter, counter("xpm_labeler_captions_without_nouns_total", "Captions in which no object noun was found.")
    ]
    captions_cut: Annotated[
        Counter, counter("xpm_labeler_captions_cut_total", "Captions longer than allowed, and cut.")
    ]
    words: Annotated[Counter, counter("xpm_labeler_words_total", "Object nouns found in captions.")]
    new_words: Annotated[
        Counter, counter("xpm_labeler_new_words_total", "Object nouns this labeler had not met since it started.")
    ]
    instances: Annotated[
        Histogram,
        histogram("xpm_labeler_instances_per_image", "Pseudo instances of one labelled image.", buckets=COUNT_BUCKETS),
    ]
    empty_labels: Annotated[
        Counter, counter("xpm_labeler_empty_labels_total", "Labelled samples for which the teacher gave no instance.")
    ]
    score: Annotated[
        Histogram,
        histogram(
            "xpm_labeler_score_ratio", "Teacher confidence of one pseudo instance, 0..1.", buckets=FRACTION_BUCKETS
        ),
    ]
    reliability: Annotated[
        Histogram,
        histogram(
            "xpm_labeler_reliability_ratio", "Reliability of one pseudo instance, 0..1.", buckets=FRACTION_BUCKETS
        ),
    ]
    teacher_version: Annotated[
        Gauge, gauge("xpm_labeler_teacher_version", "Promotion number of the teacher in use; 0 before one is loaded.")
    ]
    teacher_age_seconds: Annotated[
        Gauge, gauge("xpm_labeler_teacher_age_seconds", "Seconds since the teacher in use was promoted.")
    ]
    teacher_loads: Annotated[Counter, counter("xpm_labeler_teacher_loads_total", "Teachers loaded from the registry.")]
    teacher_load_seconds: Annotated[
        Histogram,
        histogram(
            "xpm_labeler_teacher_load_seconds",
            "Seconds one teacher took to fetch and load.",
            buckets=LONG_SECONDS_BUCKETS,
        ),
    ]
    waiting: Annotated[
        Gauge,
        gauge(
            "xpm_labeler_waiting_for_capacity", "1 while the labeler waits because too many labels are unacknowledged."
        ),
    ]
    waiting_seconds: Annotated[
        Counter,
        counter("xpm_labeler_waiting_for_capacity_seconds_total", "Seconds waited because of unacknowledged labels."),
    ]
    leases_taken: Annotated[Counter, counter("xpm_labeler_leases_taken_total", "Shards leased.")]
    leases_lost: Annotated[
        Counter,
        counter("xpm_labeler_leases_lost_total", "Leases that expired in this labeler's hands; the batch was dropped."),
    ]
    shards_finished: Annotated[Counter, counter("xpm_labeler_shards_finished_total", "Shards read to their end.")]

    def use_teacher(self, promotion: int, *, promoted_at_s: float) -> None:
        """Show promotion number and age (against Unix time `promoted_at_s`) of the teacher now in use."""
        self.teacher_version.set(promotion)
        self.teacher_age_seconds.set_function(lambda: time.time() - promoted_at_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerMetrics:
    """What the streaming student learns from, and how it goes."""

    TITLE: ClassVar[str] = "Trainer"

    steps: Annotated[Counter, counter("xpm_trainer_steps_total", "Optimiser steps since this process started.")]
    step: Annotated[Gauge, gauge("xpm_trainer_step", "Optimiser step of the run.")]
    epoch: Annotated[Gauge, gauge("xpm_trainer_epoch", "Trainer epoch: raised at every start, fences older trainers.")]
    samples_trained: Annotated[Counter, counter("xpm_trainer_samples_trained_total", "Caption samples trained on.")]
    base_images_trained: Annotated[Counter, counter("xpm_trainer_base_images_trained_total", "Base images trained on.")]
    images_replayed: Annotated[
        Counter,
        counter("xpm_trainer_images_replayed_total", "Trained images that came back beside new ones, labelled anew."),
    ]
    replay_samples: Annotated[Gauge, gauge("xpm_trainer_replay_samples", "Samples kept to be replayed.")]
    replay_words: Annotated[Gauge, gauge("xpm_trainer_replay_words", "Caption words that those samples stand for.")]
    replay_losses: Annotated[
        Counter,
        counter(
            "xpm_trainer_replay_losses_total",
            "Samples no longer kept to be replayed because their image is lost, by reason.",
            labels=("reason",),
        ),
    ]
    replay_skips: Annotated[
        Counter,
        counter(
            "xpm_trainer_replay_skips_total",
            "Drawn samples that were not replayed this time, by reason.",
            labels=("reason",),
        ),
    ]
    labels_trained: Annotated[
        Counter,
        counter(
            "xpm_trainer_labels_trained_total",
            "Labels trained on, by the teacher that wrote them.",
            labels=("teacher_slot",),
            values=("current", "previous", "older"),
        ),
    ]
    loss: Annotated[Gauge, gauge("xpm_trainer_loss", "Loss of the last step, by name.", labels=("loss",))]
    matching_accuracy: Annotated[
        Gauge,
        gauge(
            "xpm_trainer_matching_accuracy_ratio",
            "Grounding: share of the last step's captions and images that chose their own, and what guessing gives.",
            labels=("kind",),
            values=("caption", "image", "chance"),
        ),
    ]
    reading_accuracy: Annotated[
        Gauge,
        gauge(
            "xpm_trainer_reading_accuracy_ratio",
            "Pretraining's multimodal layers: share of the last step's masked tokens that were guessed, and of its "
            "pairs of image and caption, right and wrong, that were told.",
            labels=("kind",),
            values=("masked_token", "match"),
        ),
    ]
    gradient_norm: Annotated[
        Gauge, gauge("xpm_trainer_gradient_norm", "Gradient norm of the last step, before clipping.")
    ]
    learning_rate: Annotated[Gauge, gauge("xpm_trainer_learning_rate", "Learning rate of the last step.")]
    step_seconds: Annotated[
        Histogram,
        histogram(
            "xpm_trainer_step_seconds",
            "Seconds of one optimiser step, without waiting for data.",
            buckets=SECONDS_BUCKETS,
        ),
    ]
    data_wait_seconds: Annotated[
        Counter, counter("xpm_trainer_data_wait_seconds_total", "Seconds the trainer waited for labels or images.")
    ]
    staleness: Annotated[
        Histogram,
        histogram(
            "xpm_trainer_staleness_promotions",
            "Promotions between a label's teacher and the champion when the label was trained.",
            buckets=LAG_BUCKETS,
        ),
    ]
    label_age_seconds: Annotated[
        Histogram,
        histogram("xpm_trainer_label_age_seconds", "Seconds from labelling to training.", buckets=LONG_SECONDS_BUCKETS),
    ]
    reliability: Annotated[
        Histogram,
        histogram(
            "xpm_trainer_reliability_ratio", "Reliability of one trained instance, 0..1.", buckets=FRACTION_BUCKETS
        ),
    ]
    noise: Annotated[
        Histogram,
        histogram(
            "xpm_trainer_mask_noise",
            "Mean estimated noise (standard deviation of the mask logits) of one instance.",
            buckets=NOISE_BUCKETS,
        ),
    ]
    checkpoint_seconds: Annotated[
        Histogram,
        histogram(
            "xpm_trainer_checkpoint_seconds", "Seconds until one checkpoint was durable.", buckets=LONG_SECONDS_BUCKETS
        ),
    ]
    checkpoint_bytes: Annotated[Gauge, gauge("xpm_trainer_checkpoint_bytes", "Size of the last checkpoint.")]
    last_checkpoint: Annotated[
        Gauge,
        gauge("xpm_trainer_last_checkpoint_timestamp_seconds", "Unix time at which the last checkpoint was durable."),
    ]
    samples_relabelled: Annotated[
        Counter,
        counter(
            "xpm_trainer_samples_relabelled_total",
            "Labels sent back to be labelled again, by reason.",
            labels=("reason",),
        ),
    ]
    dead_letters: Annotated[
        Counter,
        counter("xpm_trainer_dead_letters_total", "Messages moved to the dead letters, by reason.", labels=("reason",)),
    ]
    duplicates_skipped: Annotated[
        Counter,
        counter(
            "xpm_trainer_duplicates_skipped_total", "Labels the trained ledger already held; acknowledged, not trained."
        ),
    ]

    def observe_matching(self, caption_accuracy: float, image_accuracy: float, *, chance: float) -> None:
        """Show how often images chose their caption and captions their image in one step."""
        for name, value in (("caption", caption_accuracy), ("image", image_accuracy), ("chance", chance)):
            self.matching_accuracy.labels(name).set(value)

    def observe_reading(self, masked_accuracy: float, match_accuracy: float) -> None:
        """Show how often masked tokens and matching captions were found out in one step."""
        for name, value in (("masked_token", masked_accuracy), ("match", match_accuracy)):
            self.reading_accuracy.labels(name).set(value)

    def observe_losses(self, losses: Mapping[str, float]) -> None:
        """Show the losses of one step by name."""
        for name, value in losses.items():
            self.loss.labels(name).set(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromoterMetrics:
    """What was promoted, and how long it took."""

    TITLE: ClassVar[str] = "Promoter"

    decisions: Annotated[
        Counter,
        counter(
            "xpm_promoter_decisions_total",
            "Entries this promoter wrote to the promotion log, by action.",
            labels=("action",),
            values=("promote", "refuse", "inconclusive", "rollback", "revoke"),
        ),
    ]
    conflicts: Annotated[Counter, counter("xpm_promoter_conflicts_total", "Entries another promoter wrote first.")]
    promotion_seconds: Annotated[
        Histogram,
        histogram(
            "xpm_promoter_promotion_seconds",
            "Seconds from finding a candidate to the entry in the log.",
            buckets=LONG_SECONDS_BUCKETS,
        ),
    ]
    champion_version: Annotated[
        Gauge, gauge("xpm_promoter_champion_version", "Promotion number of the champion; 0: none.")
    ]
    last_promotion: Annotated[
        Gauge, gauge("xpm_promoter_last_promotion_timestamp_seconds", "Unix time of the champion's entry in the log.")
    ]
    candidates_pending: Annotated[Gauge, gauge("xpm_promoter_candidates_pending", "Candidates not decided yet.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueMetrics:
    """The label queue as a whole; exported only by a process that measures it."""

    TITLE: ClassVar[str] = "Queue"

    stream_entries: Annotated[Gauge, gauge("xpm_queue_stream_entries", "Labels on the stream, read or not.")]
    unacked_labels: Annotated[Gauge, gauge("xpm_queue_unacked_labels", "Labels not yet in a durable checkpoint.")]
    unacked_bytes: Annotated[Gauge, gauge("xpm_queue_unacked_bytes", "Encoded size of the unacknowledged labels.")]
    oldest_unacked_age_seconds: Annotated[
        Gauge,
        gauge("xpm_queue_oldest_unacked_age_seconds", "Age of the oldest unacknowledged label; 0 when there is none."),
    ]
    shards: Annotated[Gauge, gauge("xpm_queue_shards", "Shards by state.", labels=("state",))]
    lease_expiries: Annotated[
        Gauge,
        gauge("xpm_queue_lease_expiries", "Leases that ran out and freed their shard, since the queue was created."),
    ]
    relabel_backlog: Annotated[Gauge, gauge("xpm_queue_relabel_backlog", "Samples waiting to be labelled again.")]
    dead_letters: Annotated[Gauge, gauge("xpm_queue_dead_letters", "Messages in the dead-letter stream.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessMetrics:
    """What every process shows."""

    TITLE: ClassVar[str] = "Every process"

    errors: Annotated[
        Counter,
        counter("xpm_errors_total", "Errors met, by the name of their class in the error tree.", labels=("kind",)),
    ]
    build_info: Annotated[
        Gauge, gauge("xpm_build_info", "Always 1; the version that runs.", labels=("version", "role"))
    ]
    started: Annotated[
        Gauge, gauge("xpm_started_timestamp_seconds", "Unix time at which the process was ready to work.")
    ]


Group = LabelerMetrics | TrainerMetrics | PromoterMetrics | QueueMetrics | ProcessMetrics
GROUPS: Final[tuple[type[Group], ...]] = (
    LabelerMetrics,
    TrainerMetrics,
    PromoterMetrics,
    QueueMetrics,
    ProcessMetrics,
)
