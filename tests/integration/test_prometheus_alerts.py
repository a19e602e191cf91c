"""A real Prometheus scrapes a run of real processes; a fault makes a real alert fire, and mending it ends the alert."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_server import PATIENCE_S, panel_expressions, prometheus_of
from redis_servers import RedisServer, newest_server, until
from stub_runs import MakeStubRun, StubRun, make_stub_run

RUNNING = {"promoter": "up", "labeler": "up", "trainer": "up", "monitor": "up"}
# Panels of which a query shows nothing in a run without faults, rejects, alarms, gates, or a second teacher's labels.
EMPTY_IN_A_GOOD_RUN = {
    "overview: Alerts that fire",
    "overview: Errors, each second",
    "labelers: Rejected, by reason",
    "trainer: Sent back or given up, each second",
    "drift_and_promotion: Alarm: previous teacher",
    "drift_and_promotion: Statistics against the previous teacher",
    "drift_and_promotion: Windows an hour",  # the line of alarms
    "drift_and_promotion: Windows trusted less, an hour",
    "drift_and_promotion: Gates of the last candidate",
    "drift_and_promotion: Gates an hour, not passed",
}


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(newest_server(), tmp_path / "redis")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def make_stub(tmp_path: Path) -> Iterator[MakeStubRun]:
    runs: list[StubRun] = []

    def make(**options: Any) -> StubRun:
        runs.append(make_stub_run(tmp_path / "stub", **options))
        return runs[-1]

    yield make
    for run in runs:
        run.end()


@pytest.mark.slow
def test_taking_the_trainer_the_labelers_or_redis_away_fires_an_alert_until_they_are_back(
    redis_server: RedisServer, make_stub: MakeStubRun, tmp_path: Path
) -> None:
    run = make_stub(
        redis={"url": redis_server.url},
        shards=12,
        samples_per_shard=1000,
        pace_ms=250,  # 64 samples a second at most: the corpus outlasts the test
        data={"watch": True},
        trainer={"checkpoint_every_steps": 4},
        promotion={"every_steps": 400, "gates": {"enabled": False}},  # a reference is of one teacher
        drift={"window_labels": 25, "min_window_labels": 20, "reference_labels": 750, "false_alarm_windows": 20},
    )
    roles = {kind: run.start(kind) for kind in ("promote", "watch", "label", "train")}
    with prometheus_of(run.folder, tmp_path / "prometheus") as prometheus:
        until(lambda: prometheus.targets() == RUNNING, what=f"every role scraped: {run.said()}", within_s=PATIENCE_S)
        # What the rules make of a run that is well: values, and nobody is woken.
        for expression in (
            "run:xpm_trainer_steps:increase10m > 0",
            "run:xpm_labeler_samples_labelled:rate5m > 0",
            "run:xpm_queue_unacked:ratio > 0",
            "run:xpm_labeler_reliability:p50_1h > 0.4",
            "run:xpm_trainer_last_checkpoint:timestamp_seconds > 1e9",
            "max(xpm_labeler_teacher_version) > 0",
            'run_reference:xpm_drift_windows_judged:increase1h{reference="frozen"} > 0',
            'run_reference:xpm_drift_windows_judged:increase1h{reference="current_teacher"} > 0',
        ):
            until(lambda e=expression: prometheus.value(e) is not None, what=expression, within_s=PATIENCE_S)
        until(lambda: not prometheus.alerts(), what="no alert at work", within_s=PATIENCE_S)
        assert prometheus.rule_problems() == []
        empty = {where for expr, where in panel_expressions().items() if not prometheus.has_data(expr)}
        assert empty <= EMPTY_IN_A_GOOD_RUN, "panels that show nothing of a run that is well"

        roles["train"].kill()
        fired = prometheus.until_firing("XpmTrainerDown")
        assert fired["labels"]["severity"] == "page"
        assert fired["labels"]["run"] == run.folder.name
        assert fired["annotations"]["runbook"] == "docs/runbooks/XpmTrainerDown.md"
        assert "None of the run's 3 targets" in fired["annotations"]["description"]
        assert not {"XpmLabelersDown", "XpmPromoterDown", "XpmTrainerStalled"} & set(prometheus.alerts())

        roles["train"] = run.start("train")
        prometheus.until_over("XpmTrainerDown")
        assert prometheus.targets() == RUNNING

        roles["label"].terminate()
        assert prometheus.until_firing("XpmLabelersDown")["labels"]["run"] == run.folder.name
        run.start("label")
        prometheus.until_over("XpmLabelersDown")
        assert prometheus.targets() == RUNNING

        redis_server.kill()
        fired = prometheus.until_firing("XpmRedisUnavailable")
        assert fired["labels"] == {"alertname": "XpmRedisUnavailable", "severity": "page", "run": run.folder.name} | {
            "kind": "QueueUnavailable"
        }
        redis_server.start()
        prometheus.until_over("XpmRedisUnavailable")
        assert prometheus.targets() == RUNNING, f"a role did not wait: {run.said()}"
        assert prometheus.rule_problems() == []
