"""Is the stream still what it was, and what was promoted?"""

from __future__ import annotations

from panels import (
    GREEN,
    ORANGE,
    RED,
    SECONDS,
    SHARE,
    Board,
    Query,
    Row,
    lines,
    of_run,
    quantile,
    rate,
    rows_table,
)
from panels import stat_panel as stat

ON = ((None, GREEN), (1, ORANGE))


def against_threshold(reference: str) -> str:
    """Each statistic as a share of its own threshold: above 1 it alarms."""
    statistic, threshold = (
        of_run(name, reference=reference) for name in ("xpm_drift_statistic", "xpm_drift_statistic_threshold")
    )
    return f"max by (quantity, statistic) ({statistic} / {threshold})"


BOARD = Board(
    uid="xpm-drift",
    title="xpm_stream: drift and promotion",
    about="Is the stream still what it was, and what was promoted?",
    rows=[
        Row(
            [
                stat(
                    "Alarm: current teacher",
                    f"max({of_run('xpm_drift_alarm', reference='current_teacher')})",
                    limits=ON,
                    about="1: not as the labels this teacher made first. What differs is the data's.",
                    alerts=["XpmDataDrift"],
                ),
                stat(
                    "Alarm: frozen reference",
                    f"max({of_run('xpm_drift_alarm', reference='frozen')})",
                    limits=ON,
                    alerts=["XpmDataDrift", "XpmTeacherDrift", "XpmUnknownDrift"],
                ),
                stat(
                    "Alarm: previous teacher",
                    f"max({of_run('xpm_drift_alarm', reference='previous_teacher')})",
                    limits=ON,
                    alerts=["XpmDataDrift", "XpmTeacherDrift", "XpmUnknownDrift"],
                ),
                stat(
                    "Brake",
                    f"max({of_run('xpm_drift_brake')})",
                    limits=ON,
                    about="1 while drift holds promotions back.",
                    alerts=["XpmDriftBrakeLong"],
                ),
                stat("Champion", f"max({of_run('xpm_promoter_champion_version')})", decimals=0),
                stat(
                    "Held",
                    f"max({of_run('xpm_promoter_held')})",
                    limits=((None, GREEN), (1, RED)),
                    about="1: nothing is promoted until a person decides.",
                    alerts=["XpmPromotionHeld"],
                ),
            ],
            height=4,
        ),
        Row(
            [
                stat(
                    "Since the last window",
                    f"time() - max({of_run('xpm_drift_last_window_timestamp_seconds')} > 0)",
                    unit=SECONDS,
                    limits=((None, GREEN), (3600, ORANGE), (21600, RED)),
                    alerts=["XpmDriftNotJudging", "XpmDriftMonitorDown"],
                ),
                stat(
                    "Failures in a row",
                    f"max({of_run('xpm_promoter_consecutive_failures')})",
                    limits=((None, GREEN), (1, ORANGE), (3, RED)),
                    alerts=["XpmPromotionRefused"],
                ),
                stat(
                    "Candidates pending",
                    f"max({of_run('xpm_promoter_candidates_pending')})",
                    limits=((None, GREEN), (2, ORANGE)),
                    alerts=["XpmCandidatePending"],
                ),
            ],
            height=4,
        ),
        Row(
            [
                lines(
                    "Statistics against the current teacher's first labels",
                    Query(against_threshold("current_teacher"), "{{quantity}} {{statistic}}"),
                    limits=((None, GREEN), (1, RED)),
                    about="As a share of its own threshold: above 1 it alarms. What changed in the data shows here.",
                    alerts=["XpmDataDrift"],
                ),
                lines(
                    "Statistics against the frozen reference",
                    Query(against_threshold("frozen"), "{{quantity}} {{statistic}}"),
                    limits=((None, GREEN), (1, RED)),
                    about="As a share of its own threshold: above 1 it alarms. Slow drift adds up here.",
                    alerts=["XpmDataDrift", "XpmTeacherDrift"],
                ),
                lines(
                    "Statistics against the previous teacher",
                    Query(against_threshold("previous_teacher"), "{{quantity}} {{statistic}}"),
                    limits=((None, GREEN), (1, RED)),
                    about="As a share of its own threshold: above 1 it alarms. The last promotion shows here.",
                    alerts=["XpmDataDrift", "XpmTeacherDrift"],
                ),
            ],
            height=10,
            title="Drift",
        ),
        Row(
            [
                lines(
                    "Reliability",
                    Query(f"max by (quantile) ({of_run('xpm_drift_reliability_quantile_ratio')})", "{{quantile}}"),
                    about="Quantiles of the last window's instances.",
                    alerts=["XpmReliabilityCollapse"],
                ),
                lines(
                    "Level of each quantity",
                    Query(f"max by (quantity) ({of_run('xpm_drift_level')})", "{{quantity}}"),
                    about="Mean or share in the last window.",
                ),
                lines(
                    "Windows trusted less, an hour",
                    Query(
                        "sum by (reference, cause) "
                        f"({of_run('run_reference_cause:xpm_drift_less_trusted_windows:increase1h')})",
                        "{{reference}}: {{cause}}",
                    ),
                    about="Alarms with a mean reliability below 0.8 of the reference's, by what changed.",
                    alerts=["XpmTeacherDrift"],
                ),
                lines(
                    "Windows an hour",
                    Query(
                        f"sum by (reference, status) (increase({of_run('xpm_drift_windows_total')}[1h]))",
                        "{{reference}}: {{status}}",
                    ),
                    Query(
                        f"sum by (reference, cause) ({of_run('run_reference_cause:xpm_drift_alarms:increase1h')})",
                        "{{reference}}: alarms, {{cause}}",
                    ),
                    alerts=["XpmDriftNotJudging"],
                ),
            ],
        ),
        Row(
            [
                lines(
                    "Labels the monitor reads",
                    Query(f"sum({rate('xpm_drift_labels_seen_total')})", "seen"),
                    Query(f"sum({rate('xpm_drift_labels_missed_total')})", "missed"),
                    unit="cps",
                    alerts=["XpmDriftLabelsMissed"],
                ),
                lines(
                    "References",
                    Query(f"max by (reference) ({of_run('xpm_drift_reference_labels')})", "{{reference}}: labels"),
                    about="A reference is complete at drift.reference_labels; no window is judged before.",
                    alerts=["XpmDriftNoReference"],
                ),
                lines(
                    "Quantities without a value",
                    Query(f"max by (reference) ({of_run('xpm_drift_missing_quantities')})", "{{reference}}"),
                    alerts=["XpmDriftNotJudging"],
                ),
            ],
        ),
        Row(
            [
                rows_table(
                    "Gates of the last candidate",
                    Query(f"max by (gate) ({of_run('xpm_promoter_gate_value')})", "value"),
                    Query(f"max by (gate) ({of_run('xpm_promoter_gate_limit')})", "limit"),
                    about="What was measured and its limit; which side is good depends on the gate (docs/registry.md).",
                    alerts=["XpmPromotionRefused", "XpmPromotionHeld", "XpmGateUnknown"],
                ),
                lines(
                    "Decisions an hour",
                    Query(f"sum by (action) (increase({of_run('xpm_promoter_decisions_total')}[1h]))", "{{action}}"),
                    draw="bars",
                    stacked=True,
                    alerts=["XpmPromotionRefused"],
                ),
                lines(
                    "Gates an hour, not passed",
                    Query(
                        "sum by (gate, outcome) "
                        f"(increase({of_run('xpm_promoter_gate_results_total', outcome='fail|unknown')}[1h]))",
                        "{{gate}}: {{outcome}}",
                    ),
                    draw="bars",
                    stacked=True,
                    alerts=["XpmGateUnknown"],
                ),
            ],
            title="Promotion",
        ),
        Row(
            [
                lines(
                    "Champion and failures",
                    Query(f"max({of_run('xpm_promoter_champion_version')})", "champion"),
                    Query(f"max({of_run('xpm_promoter_consecutive_failures')})", "failures in a row"),
                    alerts=["XpmPromotionRefused"],
                ),
                lines(
                    "One candidate",
                    Query(quantile(0.95, "xpm_promoter_gate_seconds"), "measuring, 95 %"),
                    Query(quantile(0.95, "xpm_promoter_promotion_seconds"), "decision, 95 %"),
                    unit=SECONDS,
                    alerts=["XpmCandidatePending"],
                ),
                lines(
                    "Labels of the last hour",
                    Query(f"max({of_run('run:xpm_labeler_empty_labels:ratio1h')})", "empty"),
                    Query(f"max({of_run('run:xpm_labeler_captions_without_nouns:ratio1h')})", "captions without nouns"),
                    unit=SHARE,
                    alerts=["XpmEmptyLabels", "XpmCaptionsWithoutNouns"],
                ),
            ],
        ),
    ],
)
