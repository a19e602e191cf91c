"""What labelers read and label, how fast, and how sure they are."""

from __future__ import annotations

from panels import GREEN, ORANGE, RATE, RED, SECONDS, SHARE, Board, Query, Row, heat, lines, of_run, quantile, rate
from panels import stat_panel as stat

BOARD = Board(
    uid="xpm-labelers",
    title="xpm_stream: labelers",
    about="What labelers read and label, how fast, and how sure they are.",
    rows=[
        Row(
            [
                stat(
                    "Labelers",
                    f"sum({of_run('up', job='xpm_stream', role='labeler')})",
                    limits=((None, RED), (1, GREEN)),
                    alerts=["XpmLabelersDown"],
                ),
                stat(
                    "Labelled, each second",
                    f"sum({of_run('run:xpm_labeler_samples_labelled:rate5m')})",
                    unit=RATE,
                    alerts=["XpmLabelersStalled"],
                ),
                stat(
                    "Waiting for room",
                    f"sum({of_run('xpm_labeler_waiting_for_capacity')})",
                    about="Labelers that wait because too many labels are unacknowledged: the trainer sets the pace.",
                    alerts=["XpmIngestionBlocked"],
                ),
                stat(
                    "Captions without nouns, 1 h",
                    f"max({of_run('run:xpm_labeler_captions_without_nouns:ratio1h')})",
                    unit=SHARE,
                    limits=((None, GREEN), (0.35, ORANGE), (0.5, RED)),
                    alerts=["XpmCaptionsWithoutNouns"],
                ),
                stat(
                    "Empty labels, 1 h",
                    f"max({of_run('run:xpm_labeler_empty_labels:ratio1h')})",
                    unit=SHARE,
                    limits=((None, GREEN), (0.35, ORANGE), (0.5, RED)),
                    alerts=["XpmEmptyLabels"],
                ),
                stat(
                    "Rejected, 1 h",
                    f"max({of_run('run:xpm_labeler_samples_rejected:ratio1h')}) or vector(0)",
                    unit=SHARE,
                    limits=((None, GREEN), (0.03, ORANGE), (0.05, RED)),
                    alerts=["XpmRejectedSamples"],
                ),
            ],
            height=4,
        ),
        Row(
            [
                lines(
                    "Samples labelled, by labeler",
                    Query(f"sum by (instance) ({rate('xpm_labeler_samples_labelled_total')})", "{{instance}}"),
                    unit=RATE,
                    stacked=True,
                    alerts=["XpmLabelersStalled"],
                ),
                lines(
                    "What labelers' time goes into",
                    Query(f"sum({rate('xpm_labeler_label_seconds_sum')})", "labelling"),
                    Query(f"sum({rate('xpm_labeler_read_wait_seconds_total')})", "waiting for images"),
                    Query(f"sum({rate('xpm_labeler_commit_seconds_sum')})", "committing"),
                    Query(f"sum({rate('xpm_labeler_waiting_for_capacity_seconds_total')})", "waiting for room"),
                    unit=SECONDS,
                    stacked=True,
                    about="Seconds each second, summed over labelers.",
                ),
                lines(
                    "One batch",
                    Query(quantile(0.5, "xpm_labeler_label_seconds"), "label, median"),
                    Query(quantile(0.95, "xpm_labeler_label_seconds"), "label, 95 %"),
                    Query(quantile(0.5, "xpm_labeler_commit_seconds"), "commit, median"),
                    Query(quantile(0.95, "xpm_labeler_commit_seconds"), "commit, 95 %"),
                    unit=SECONDS,
                ),
            ],
            title="Pace",
        ),
        Row(
            [
                heat(
                    "Reliability",
                    "xpm_labeler_reliability_ratio",
                    about="Of each pseudo instance, 0 to 1.",
                    alerts=["XpmReliabilityCollapse"],
                ),
                heat("Teacher's confidence", "xpm_labeler_score_ratio", about="Of each pseudo instance, 0 to 1."),
                heat(
                    "Instances of an image",
                    "xpm_labeler_instances_per_image",
                    alerts=["XpmEmptyLabels"],
                ),
            ],
            title="Labels",
        ),
        Row(
            [
                lines(
                    "Words",
                    Query(
                        f"sum({rate('xpm_labeler_words_total')}) / sum({rate('xpm_labeler_captions_total')})",
                        "nouns a caption",
                    ),
                    Query(
                        f"sum({rate('xpm_labeler_new_words_total')}) / sum({rate('xpm_labeler_words_total')})",
                        "share of new nouns",
                    ),
                    about="New: not met by this labeler since it started, so the share is high after a start.",
                    alerts=["XpmCaptionsWithoutNouns"],
                ),
                lines(
                    "Skipped, by reason",
                    Query(f"sum by (reason) ({rate('xpm_labeler_samples_skipped_total')})", "{{reason}}"),
                    unit=RATE,
                    stacked=True,
                    alerts=["XpmCaptionsWithoutNouns"],
                ),
                lines(
                    "Rejected, by reason",
                    Query(f"sum by (reason) ({rate('xpm_labeler_samples_rejected_total')})", "{{reason}}"),
                    unit=RATE,
                    stacked=True,
                    alerts=["XpmRejectedSamples"],
                ),
            ],
            title="Input",
        ),
        Row(
            [
                lines(
                    "Leases, each second",
                    Query(f"sum({rate('xpm_labeler_leases_taken_total')})", "taken"),
                    Query(f"sum({rate('xpm_labeler_shards_finished_total')})", "shards finished"),
                    Query(f"sum({rate('xpm_labeler_leases_lost_total')})", "lost"),
                    unit=RATE,
                    alerts=["XpmLeaseExpiries"],
                ),
                lines(
                    "Labelled again",
                    Query(f"sum({rate('xpm_labeler_samples_relabelled_total')})", "each second"),
                    Query(f"max({of_run('xpm_queue_relabel_backlog')})", "waiting"),
                    alerts=["XpmRelabelBacklog", "XpmStaleLabels"],
                ),
                lines(
                    "Teacher",
                    Query(f"max({of_run('xpm_labeler_teacher_age_seconds')})", "oldest in use"),
                    Query(quantile(0.95, "xpm_labeler_teacher_load_seconds"), "loading, 95 %"),
                    unit=SECONDS,
                    alerts=["XpmTeacherNotTaken"],
                ),
            ],
            title="Delivery",
        ),
    ],
)
