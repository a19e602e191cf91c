"""LabelerMetrics: the metrics table of one group; see `metric_tables`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated, ClassVar

from prometheus_client import Counter, Gauge, Histogram

from xpm_stream.monitoring.metric_spec import (
    COUNT_BUCKETS,
    FRACTION_BUCKETS,
    LONG_SECONDS_BUCKETS,
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
