"""What the student learns from, how fast, and how it goes."""

from __future__ import annotations

from panels import (
    BYTES,
    GREEN,
    ORANGE,
    PLAIN,
    RATE,
    RED,
    SECONDS,
    SHARE,
    Board,
    Query,
    Row,
    heat,
    lines,
    of_run,
    quantile,
    rate,
)
from panels import stat_panel as stat

BOARD = Board(
    uid="xpm-trainer",
    title="xpm_stream: trainer",
    about="What the student learns from, how fast, and how it goes.",
    rows=[
        Row(
            [
                stat("Step", f"max({of_run('xpm_trainer_step')})", decimals=0, alerts=["XpmTrainerStalled"]),
                stat(
                    "Captions trained, each second",
                    f"sum({of_run('run:xpm_trainer_samples_trained:rate5m')})",
                    unit=RATE,
                    alerts=["XpmTrainerStalled"],
                ),
                stat(
                    "Waiting for labels",
                    f"avg({rate('xpm_trainer_data_wait_seconds_total')})",
                    unit=SHARE,
                    limits=((None, GREEN), (0.2, ORANGE), (0.5, RED)),
                    about="Share of time without work: more labelers, or a faster store.",
                ),
                stat(
                    "Since the last checkpoint",
                    f"time() - max({of_run('run:xpm_trainer_last_checkpoint:timestamp_seconds')})",
                    unit=SECONDS,
                    limits=((None, GREEN), (3600, ORANGE), (7200, RED)),
                    alerts=["XpmCheckpointTooOld"],
                ),
                stat(
                    "Stale labels, 1 h",
                    f"max({of_run('run:xpm_trainer_samples_stale:ratio1h')}) or vector(0)",
                    unit=SHARE,
                    limits=((None, GREEN), (0.1, ORANGE), (0.25, RED)),
                    alerts=["XpmStaleLabels"],
                ),
                stat("Gradient norm", f"max({of_run('xpm_trainer_gradient_norm')})", alerts=["XpmGradientNorm"]),
            ],
            height=4,
        ),
        Row(
            [
                lines(
                    "Losses",
                    Query(f"avg by (loss) ({of_run('xpm_trainer_loss')})", "{{loss}}"),
                    least=None,
                ),
                lines(
                    "Gradient norm, before clipping",
                    Query(f"max({of_run('xpm_trainer_gradient_norm')})", "norm"),
                    logarithmic=True,
                    alerts=["XpmGradientNorm"],
                ),
                lines("Learning rate", Query(f"max({of_run('xpm_trainer_learning_rate')})", "rate"), unit="sci"),
            ],
            title="Learning",
        ),
        Row(
            [
                lines(
                    "Captions and images, each second",
                    Query(f"sum({rate('xpm_trainer_samples_trained_total')})", "captions"),
                    Query(f"sum({rate('xpm_trainer_base_images_trained_total')})", "base images"),
                    Query(f"sum({rate('xpm_trainer_images_replayed_total')})", "replayed"),
                    unit=RATE,
                ),
                lines(
                    "One step",
                    Query(quantile(0.5, "xpm_trainer_step_seconds"), "median"),
                    Query(quantile(0.95, "xpm_trainer_step_seconds"), "95 %"),
                    unit=SECONDS,
                    about="Without waiting for data.",
                ),
                lines(
                    "One checkpoint",
                    Query(quantile(0.5, "xpm_trainer_checkpoint_seconds"), "median"),
                    Query(quantile(0.95, "xpm_trainer_checkpoint_seconds"), "95 %"),
                    unit=SECONDS,
                    alerts=["XpmCheckpointTooOld"],
                ),
            ],
            title="Pace",
        ),
        Row(
            [
                heat(
                    "Promotions since labelling",
                    "xpm_trainer_staleness_promotions",
                    about="Between a label's teacher and the champion, when the label was trained.",
                    alerts=["XpmStaleLabels"],
                ),
                lines(
                    "From labelling to training",
                    Query(quantile(0.5, "xpm_trainer_label_age_seconds"), "median"),
                    Query(quantile(0.95, "xpm_trainer_label_age_seconds"), "95 %"),
                    unit=SECONDS,
                    alerts=["XpmOldestLabelTooOld"],
                ),
                lines(
                    "Labels, by teacher",
                    Query(f"sum by (teacher_slot) ({rate('xpm_trainer_labels_trained_total')})", "{{teacher_slot}}"),
                    unit=RATE,
                    stacked=True,
                    alerts=["XpmStaleLabels"],
                ),
            ],
            title="Staleness",
        ),
        Row(
            [
                heat("Reliability of what is trained", "xpm_trainer_reliability_ratio", about="0 to 1."),
                heat(
                    "Estimated mask noise",
                    "xpm_trainer_mask_noise",
                    about="Mean standard deviation of one instance's mask logits.",
                ),
                lines(
                    "Grounding",
                    Query(f"avg by (kind) ({of_run('xpm_trainer_matching_accuracy_ratio')})", "matching: {{kind}}"),
                    Query(f"avg by (kind) ({of_run('xpm_trainer_reading_accuracy_ratio')})", "reading: {{kind}}"),
                    unit=SHARE,
                    about="Only where captions are grounded (pretraining, teacher.grounding_weight).",
                ),
            ],
            title="Labels",
        ),
        Row(
            [
                lines(
                    "Sent back or given up, each second",
                    Query(f"sum by (reason) ({rate('xpm_trainer_samples_relabelled_total')})", "back: {{reason}}"),
                    Query(f"sum by (reason) ({rate('xpm_trainer_dead_letters_total')})", "dead: {{reason}}"),
                    Query(f"sum({rate('xpm_trainer_duplicates_skipped_total')})", "already trained"),
                    unit=RATE,
                    alerts=["XpmDeadLetters", "XpmStaleLabels"],
                ),
                lines(
                    "Size of a checkpoint",
                    Query(f"max({of_run('xpm_trainer_checkpoint_bytes')})", "bytes"),
                    unit=BYTES,
                    alerts=["XpmCheckpointGrowth"],
                ),
                lines(
                    "Replay",
                    Query(f"sum({of_run('xpm_trainer_replay_samples')})", "samples kept"),
                    Query(f"sum({of_run('xpm_trainer_replay_words')})", "words they stand for"),
                    unit=PLAIN,
                    about="Only with trainer.replay_images.",
                ),
            ],
            title="Delivery",
        ),
    ],
)
