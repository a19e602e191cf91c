"""Is the stream healthy? At a glance."""

from __future__ import annotations

from panels import (
    BYTES,
    GREEN,
    ORANGE,
    RATE,
    RED,
    SECONDS,
    SHARE,
    Board,
    Query,
    Row,
    lines,
    of_run,
    rate,
    rows_table,
    stat_panel,
)

ZERO_IS_GOOD = ((None, GREEN), (1, RED))

BOARD = Board(
    uid="xpm-overview",
    title="xpm_stream: overview",
    about="Is the stream healthy? Details: labelers, trainer, drift and promotion.",
    rows=[
        Row(
            [
                stat_panel(
                    "Pages firing",
                    f"count({of_run('ALERTS', severity='page', alertstate='firing')}) or vector(0)",
                    limits=ZERO_IS_GOOD,
                    about="Work stands still or is being spoilt now. The table below names them.",
                ),
                stat_panel(
                    "Tickets firing",
                    f"count({of_run('ALERTS', severity='ticket', alertstate='firing')}) or vector(0)",
                    limits=((None, GREEN), (1, ORANGE)),
                ),
                stat_panel(
                    "Targets that do not answer",
                    f"count({of_run('up', job='xpm_stream')} == 0) or vector(0)",
                    limits=((None, GREEN), (1, ORANGE)),
                    alerts=["XpmTrainerDown", "XpmLabelersDown", "XpmPromoterDown", "XpmDriftMonitorDown"],
                ),
                stat_panel(
                    "Not ready",
                    f"count({of_run('xpm_ready')} == 0) or vector(0)",
                    limits=((None, GREEN), (1, ORANGE)),
                    alerts=["XpmRoleNotReady"],
                ),
                stat_panel(
                    "Budget of labels used",
                    f"max({of_run('run:xpm_queue_unacked:ratio')})",
                    unit=SHARE,
                    decimals=0,
                    limits=((None, GREEN), (0.8, ORANGE), (0.95, RED)),
                    alerts=["XpmIngestionBlocked", "XpmTrainerStalled"],
                    about="Labels not yet in a checkpoint, of the budget. Full is fine while the trainer trains.",
                ),
                stat_panel(
                    "Champion's age",
                    f"time() - max({of_run('xpm_promoter_last_promotion_timestamp_seconds')} > 0)",
                    unit=SECONDS,
                    limits=((None, GREEN), (43200, ORANGE), (86400, RED)),
                    alerts=["XpmNoPromotion"],
                ),
                stat_panel(
                    "Drift brake",
                    f"max({of_run('xpm_drift_brake')})",
                    limits=((None, GREEN), (1, ORANGE)),
                    alerts=["XpmDriftBrakeLong"],
                ),
                stat_panel(
                    "Median reliability, 1 h",
                    f"min({of_run('run:xpm_labeler_reliability:p50_1h')})",
                    decimals=2,
                    alerts=["XpmReliabilityCollapse"],
                ),
            ],
            height=4,
        ),
        Row(
            [
                lines(
                    "Samples, each second",
                    Query(f"sum({rate('xpm_labeler_samples_read_total')})", "read"),
                    Query(f"sum({of_run('run:xpm_labeler_samples_labelled:rate5m')})", "labelled"),
                    Query(f"sum({of_run('run:xpm_trainer_samples_trained:rate5m')})", "trained"),
                    unit=RATE,
                    alerts=["XpmTrainerStalled", "XpmLabelersStalled"],
                ),
                lines(
                    "Labels not yet in a checkpoint",
                    Query(f"max({of_run('xpm_queue_unacked_labels')})", "labels"),
                    Query(f"max({of_run('xpm_queue_max_unacked_labels')})", "budget"),
                    alerts=["XpmIngestionBlocked"],
                ),
                lines(
                    "Age of the oldest such label",
                    Query(f"max({of_run('xpm_queue_oldest_unacked_age_seconds')})", "oldest label"),
                    unit=SECONDS,
                    limits=((None, GREEN), (7200, RED)),
                    alerts=["XpmOldestLabelTooOld"],
                ),
            ],
        ),
        Row(
            [
                lines(
                    "Shards",
                    *(
                        Query(f"max({of_run('xpm_queue_shards', state=state)})", state)
                        for state in ("pending", "leased", "failed")
                    ),
                    stacked=True,
                    alerts=["XpmStreamDry", "XpmShardsFailed"],
                ),
                lines(
                    "What comes back or dies",
                    Query(f"max({of_run('xpm_queue_relabel_backlog')})", "to be labelled again"),
                    Query(f"max({of_run('xpm_queue_dead_letters')})", "dead letters"),
                    Query(f"max({of_run('xpm_queue_lease_expiries')})", "leases that ran out"),
                    alerts=["XpmRelabelBacklog", "XpmDeadLetters", "XpmLeaseExpiries"],
                ),
                lines(
                    "Teachers in use",
                    Query(f"max({of_run('xpm_promoter_champion_version')})", "champion"),
                    Query(of_run("xpm_labeler_teacher_version"), "{{instance}}"),
                    alerts=["XpmTeacherNotTaken"],
                ),
            ],
        ),
        Row(
            [
                rows_table(
                    "Alerts that fire",
                    Query(of_run("ALERTS", alertstate="firing"), "firing"),
                    hidden=["alertstate", "instance", "Value", "Value #A"],
                    about="docs/runbooks/NAME.md says what to do.",
                ),
                lines(
                    "Errors, each second",
                    Query(f"sum by (role, kind) ({rate('xpm_errors_total')})", "{{role}} {{kind}}"),
                    unit=RATE,
                    alerts=["XpmErrors", "XpmRedisUnavailable"],
                ),
                lines(
                    "Memory",
                    Query(of_run("process_resident_memory_bytes", job="xpm_stream"), "{{role}} {{instance}}"),
                    unit=BYTES,
                ),
            ],
        ),
    ],
)
