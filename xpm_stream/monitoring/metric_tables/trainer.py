"""TrainerMetrics: the metrics table of one group; see `metric_tables`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from prometheus_client import Counter, Gauge, Histogram

from xpm_stream.monitoring.metric_spec import (
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
