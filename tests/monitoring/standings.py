"""What a look at a run finds, with what a test asks for: nothing wrong unless it says so."""

from __future__ import annotations

import msgspec
from sample_runs import GATES, REFUSED, START_S, history

from xpm_stream.monitoring.drift_records import WindowRecord
from xpm_stream.monitoring.report_data import Audit, AuditLine, ReportData, Training
from xpm_stream.monitoring.standing import (
    Absent,
    PromotionStanding,
    QueueStanding,
    RoleStanding,
    RunStanding,
    gates_of,
)

QUEUE = QueueStanding(
    unacked_labels=1234,
    max_unacked_labels=4096,
    unacked_bytes=700_000,
    max_unacked_bytes=256 * 2**20,
    oldest_label_age_s=12.5,
    relabels=3,
    dead_letters=0,
    dead_by_reason={},
    skipped_by_reason={"no_nouns": 40},
    shards_pending=4,
    shards_leased=2,
    shards_finished=6,
    shards_failed=0,
    lease_expiries=1,
    labels_committed=60_000,
    labels_acknowledged=58_766,
    finished=False,
)


def role(name: str, *, state: str = "ready", up_s: float = 3600.0, reasons: tuple[str, ...] = ()) -> RoleStanding:
    return RoleStanding(
        role=name,
        pid=4321,
        hostname="here",
        url="http://127.0.0.1:9300",
        started_at_s=START_S + 6000 - up_s,
        state=state,  # type: ignore[arg-type]
        reasons=list(reasons),
    )


def entry(
    number: int, action: str, *, gates: list[dict[str, object]] | None = None, **more: object
) -> PromotionStanding:
    made = PromotionStanding(
        number=number,
        action=action,
        checkpoint=f"s{number}",
        epoch=1,
        step=number * 500,
        created_at_s=START_S + number * 900,
        by="promoter",
        target=None,
        reasons=["all gates passed"] if action == "promote" else ["canary_agreement 0.04 is below 0.1"],
        gates=gates_of({} if gates is None else {"gates": gates}),
    )
    return msgspec.structs.replace(made, **more)


def standing(windows: list[WindowRecord] | Absent | None = None, **changes: object) -> RunStanding:
    healthy = RunStanding(
        name="sample",
        method="xpm",
        folder="runs/sample",
        looked_at_s=START_S + 6000,
        phase="running",
        roles=[role("trainer"), role("labeler"), role("promoter"), role("monitor")],
        queue=QUEUE,
        promotions=[entry(1, "promote"), entry(2, "refuse", gates=REFUSED), entry(3, "promote", gates=GATES)],
        champion=3,
        revoked=[],
        candidates_pending=0,
        failures_in_a_row=0,
        max_failures=5,
        min_window_labels=100,
        windows=history(90) if windows is None else windows,
    )
    return msgspec.structs.replace(healthy, **changes)


def report_of(looked: RunStanding, **changes: object) -> ReportData:
    line = AuditLine(
        shard="s3://bucket/00000.tar",
        pass_index=0,
        state="finished",
        samples=1000,
        trained=900,
        queued=60,
        relabels=0,
        skipped=38,
        dead=2,
        missing=0,
        doubled=0,
    )
    totals = {"samples": 1000, "trained": 900, "queued": 60, "relabels": 0, "skipped": 38, "dead": 2}
    parts: dict[str, object] = {
        "standing": looked,
        "concerns": [],
        "training": Training(step=1500, samples_trained=900, samples_relabelled=0, samples_replayed=0),
        "audit": Audit(
            totals={**totals, "missing": 0, "doubled": 0},
            lines=[line],
            problems=[],
            in_motion=False,
            skipped_by_reason={"no_nouns": 38},
            dead_by_reason={"image_broken": 2},
        ),
        "pictures": Absent("left out"),
        "scores": Absent("no checkpoint was evaluated"),
        "settings": [],
        "versions": {"python": "3.11"},
    }
    return ReportData(**{**parts, **changes})  # type: ignore[arg-type]
