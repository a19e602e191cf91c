"""`xpm-stream watch` as a real process of the user `monitor` beside a real stream of labels."""

from __future__ import annotations

import json
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from drift_stream import DriftStream
from processes import Command, Run, until
from redis_servers import PASSWORD, RedisServer, newest_server
from stub_runs import PATIENCE_S

from benchmarks.drift_labels import LabelModel
from xpm_stream.config.loading import parse_config
from xpm_stream.label_queue import LabelQueue, connect
from xpm_stream.monitoring.canary_labels import CanaryLabels, encode_canary_labels
from xpm_stream.monitoring.drift_measures import LabelMeasures
from xpm_stream.monitoring.drift_records import WindowRecord
from xpm_stream.monitoring.drift_store import DriftStore
from xpm_stream.registry.promotion_log import PromotionLog
from xpm_stream.registry.store import Store, open_store

ACL_FILE = Path(__file__).parents[2] / "deploy" / "redis" / "users.acl"
WINDOW = 100
REFERENCE = 2000
DRIFT = {
    "poll_s": 0.05,
    "window_labels": WINDOW,
    "window_s": 3600.0,
    "min_window_labels": 50,
    "reference_labels": REFERENCE,
    "false_alarm_windows": 200,
    "block_labels": 1,
    "top_words": 20,
    "brake_release_windows": 2,
}
NOISY = LabelModel(noisy_share=0.8)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    users = tmp_path / "users.acl"
    lines = [line for line in ACL_FILE.read_text("utf-8").splitlines() if line.startswith("user ")]
    text = "\n".join(lines).replace("CHANGE-ME-admin", PASSWORD).replace("CHANGE-ME", "secret")
    users.write_text(text + "\n", encoding="utf-8")
    with RedisServer(newest_server(), tmp_path / "redis", acl_file=users, appendfsync="always") as started:
        yield started


class Watched:
    """A run folder with a monitor of its own Redis user, and the stream it watches."""

    def __init__(self, server: RedisServer, folder: Path, **drift: object) -> None:
        tree = {
            "folder": str(folder / "run"),
            "redis": {"url": server.url_of("monitor", "secret-monitor"), "retry_for_s": 60},
            "queue": {"max_unacked_labels": 1_000_000, "lease_ttl_s": 600},
            "metrics": {"port": 0},
            "drift": {**DRIFT, **drift},
        }
        path = folder / "run.yaml"
        path.write_text(yaml.safe_dump(tree), encoding="utf-8")
        self.run = Run(folder / "run", path)
        config = parse_config(tree, source="test")
        redis = config.redis.model_copy(update={"url": server.url})
        self.queue: LabelQueue = connect(redis, config.queue, run_folder=self.run.folder)
        self.stream = DriftStream(self.queue)
        self.registry: Store = open_store(self.run.folder / "registry")
        self.log = PromotionLog(self.registry)
        self.store = DriftStore(self.registry)

    def start(self, *arguments: str) -> Command:
        return self.run.start("watch", *arguments)

    def until(self, condition: Callable[[], Any], *, what: str) -> Any:
        """Wait for a condition while no monitor fails."""

        def met() -> Any:
            for command in self.run.started:
                assert command.process.poll() in (None, 0, -signal.SIGKILL), command.said[-2000:]
            return condition()

        try:
            return until(met, what=what, within_s=PATIENCE_S)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{[one['message'] for one in self.run.log('monitor')][-20:]}") from error

    def windows(self, at_least: int = 0) -> list[WindowRecord]:
        """The records, once there are so many."""

        def enough() -> bool:
            newest = self.store.newest_window()
            return (newest.number if newest else 0) >= at_least

        self.until(enough, what=f"{at_least} windows")
        return self.store.windows()

    def await_ready(self, name: str, *, times: int = 1) -> None:
        """Wait until a reference of this name is judged against, for the second time or so."""

        def ready() -> bool:
            events = self.run.logged("monitor", "drift reference ready")
            return len([event for event in events if event["reference"] == name]) >= times

        self.until(ready, what=f"{name} being ready")

    def fill_reference(self, *, teacher: int = 1) -> None:
        """Put labels on the stream until windows are judged against the frozen reference."""
        self.stream.commit(self.stream.draw(REFERENCE), teacher=teacher)
        self.await_ready("frozen")

    def metrics(self) -> str:
        for path in (self.run.folder / "endpoints").glob("*.json"):
            url = json.loads(path.read_text())["url"]
            with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
                text: str = answer.read().decode()
                return text
        raise AssertionError("no endpoint")

    def ready(self) -> int:
        for path in (self.run.folder / "endpoints").glob("*.json"):
            url = json.loads(path.read_text())["url"]
            try:
                with urllib.request.urlopen(f"{url}/readyz", timeout=30) as answer:
                    return int(answer.status)
            except urllib.error.HTTPError as error:
                with error:
                    return error.code
        return 0

    def check_counts(self, newest: WindowRecord) -> None:
        """Every label was seen or missed, and the monitor left the stream as it was."""
        assert newest.labels_seen + newest.labels_missed == self.stream.put == self.queue.stats().labels_committed

    def end(self) -> None:
        self.run.end()
        self.queue.close()


@pytest.fixture
def make(server: RedisServer, tmp_path: Path) -> Iterator[Callable[..., Watched]]:
    made: list[Watched] = []

    def watched(**drift: object) -> Watched:
        made.append(Watched(server, tmp_path, **drift))
        return made[-1]

    yield watched
    for one in made:
        one.end()


def value_of(metrics: str, line: str) -> float | None:
    found = [one.rpartition(" ")[2] for one in metrics.splitlines() if one.startswith(f"{line} ")]
    return float(found[0]) if found else None


@pytest.mark.slow
def test_a_shift_of_the_data_raises_the_alarm_in_its_first_window_and_brakes(
    make: Callable[..., Watched], server: RedisServer
) -> None:
    watched = make()
    command = watched.start()
    watched.fill_reference()
    before = REFERENCE // WINDOW
    assert all(one.verdicts == [] and one.cause is None for one in watched.windows(before))
    watched.stream.commit(watched.stream.draw(WINDOW))
    watched.stream.commit(watched.stream.draw(WINDOW, NOISY))
    quiet, alarmed = watched.windows(before + 2)[before:]
    assert (quiet.verdicts[0].status, quiet.brake) == ("no_drift", False)
    (verdict,) = [one for one in alarmed.verdicts if one.reference == "frozen"]
    assert (verdict.status, alarmed.cause) == ("drift", "data")
    assert "reliability" in {one.quantity for one in verdict.above}
    assert alarmed.brake
    assert alarmed.brake_since_s == alarmed.ended_at_s
    assert any("reliability" in reason and "(data)" in reason for reason in alarmed.brake_reasons)
    watched.until(lambda: value_of(watched.metrics(), "xpm_drift_brake") == 1, what="the brake's gauge")
    metrics = watched.metrics()
    assert value_of(metrics, 'xpm_drift_alarms_total{cause="data",reference="frozen"}') == 1
    assert verdict.less_trusted
    assert value_of(metrics, 'xpm_drift_less_trusted_windows_total{cause="data",reference="frozen"}') == 1
    assert value_of(metrics, "xpm_drift_labels_seen_total") == watched.stream.put
    assert value_of(metrics, 'xpm_drift_reference_ready{reference="frozen"}') == 1
    watched.until(
        lambda: value_of(watched.metrics(), "xpm_queue_unacked_labels") == watched.stream.put, what="the queue's gauges"
    )

    watched.stream.commit(watched.stream.draw(3 * WINDOW))
    last = watched.windows(before + 5)
    assert [one.brake for one in last[-3:]] == [True, False, False], "released after two windows without alarm"
    assert last[-1].brake_reasons == []
    watched.check_counts(last[-1])
    assert last[-1].labels_missed == 0
    assert last[-1].queue.unacked_labels == watched.stream.put
    assert command.stop() == 0
    with server.client() as admin:
        assert admin.xlen("{xpm}:labels") == watched.stream.put
        denied = [f"{one['username']} {one['object']} ({one['context']})" for one in admin.acl_log()]
    assert not denied, "the user `monitor` lacks a right"


@pytest.mark.slow
def test_a_monitor_that_is_killed_is_gone_on_with_by_the_next(make: Callable[..., Watched]) -> None:
    watched = make()
    watched.start()
    watched.fill_reference()
    watched.stream.commit(watched.stream.draw(WINDOW, NOISY))
    watched.stream.commit(watched.stream.draw(30))  # the window in which it is killed stays open
    before = watched.windows(REFERENCE // WINDOW + 1)
    assert before[-1].brake
    watched.run.started[0].process.kill()
    watched.run.started[0].dies()
    assert [one.number for one in watched.windows()] == [one.number for one in before]

    watched.stream.acknowledge(watched.stream.put - 90)  # 60 labels that it has a record of stay on the stream
    watched.stream.commit(watched.stream.draw(70))
    watched.start()
    after = watched.windows(len(before) + 1)
    assert [one.number for one in after] == list(range(1, len(before) + 2))
    assert after[-1].cause is None
    assert after[-1].brake, "the brake is as it was"
    assert after[-1].verdicts[0].reference == "frozen", "the reference is, too"
    frozen = [name for name in watched.registry.names("drift/thresholds") if name.startswith("frozen")]
    assert len(frozen) == 1, "and its thresholds are not computed anew"
    watched.check_counts(after[-1])
    assert after[-1].labels_missed == 0, "the 30 labels of the open window were read again"

    watched.run.started[1].process.kill()
    watched.run.started[1].dies()
    watched.stream.acknowledge(watched.stream.put)
    watched.stream.commit(watched.stream.draw(60))
    watched.stream.acknowledge(60)  # nobody saw these
    watched.stream.commit(watched.stream.draw(WINDOW))
    watched.start()
    last = watched.windows(len(after) + 1)[-1]
    assert last.labels_missed == 60
    watched.check_counts(last)


@pytest.mark.slow
def test_redis_may_be_away_for_a_while(make: Callable[..., Watched], server: RedisServer) -> None:
    watched = make()
    command = watched.start()
    watched.stream.commit(watched.stream.draw(WINDOW + 10))
    watched.windows(1)
    until(lambda: watched.ready() == 200, what="being ready", within_s=PATIENCE_S)
    server.kill()
    until(lambda: watched.ready() == 503, what="being unready without Redis", within_s=PATIENCE_S)
    until(lambda: watched.run.logged("monitor", "waiting for Redis"), what="saying so", within_s=PATIENCE_S)
    assert command.process.poll() is None
    server.start()
    watched.stream.commit(watched.stream.draw(WINDOW))
    records = watched.windows(2)
    assert records[-1].labels_seen == 2 * WINDOW
    assert command.stop() == 0
    newest = watched.windows(3)[-1]
    assert newest.num_labels == 10, "what was open at the stop"
    watched.check_counts(newest)


@pytest.mark.slow
def test_of_two_monitors_one_ends_with_an_error_that_says_so(make: Callable[..., Watched]) -> None:
    watched = make()
    both = [watched.start(), watched.start()]
    until(lambda: len(list((watched.run.folder / "endpoints").glob("*.json"))) == 2, what="both at work", within_s=60)
    watched.stream.commit(watched.stream.draw(WINDOW))
    ended = until(lambda: [one for one in both if one.process.poll() is not None], what="one ending", within_s=60)
    assert len(ended) == 1
    assert "another drift monitor wrote drift/windows/0000000" in ended[0].fails()
    (left,) = [one for one in both if one is not ended[0]]
    watched.stream.commit(watched.stream.draw(WINDOW))
    until(lambda: watched.store.newest_window().number >= 2, what="the other one going on", within_s=60)  # type: ignore[union-attr]
    assert left.stop() == 0


@pytest.mark.slow
def test_a_silent_stream_closes_its_window(make: Callable[..., Watched]) -> None:
    watched = make(window_s=1.0)
    watched.start()
    watched.stream.commit(watched.stream.draw(7))
    (record,) = watched.windows(1)
    assert record.num_labels == 7
    assert record.ended_at_s == record.started_at_s + 1.0
    assert record.verdicts == []


def changed(labels: list[LabelMeasures]) -> list[LabelMeasures]:
    """What a teacher says that is less sure of everything."""
    return [
        LabelMeasures(
            scores=one.scores,
            reliabilities=[value**2 for value in one.reliabilities],
            box_area_shares=one.box_area_shares,
            nouns_per_caption=one.nouns_per_caption,
            words=one.words,
        )
        for one in labels
    ]


@pytest.mark.slow
def test_a_changed_teacher_is_told_from_changed_data_by_the_canary_files(make: Callable[..., Watched]) -> None:
    watched = make()
    for name in ("first", "second"):
        watched.log.append("promote", checkpoint=name, epoch=1, step=len(name), by="test")
    images = watched.stream.draw(200)
    for name, said in (("first", images), ("second", changed(images))):
        labels = CanaryLabels(checkpoint=name, canary_id="c", images=said)
        watched.registry.create(f"drift/canary/labels/{name}.json", encode_canary_labels(labels))
    watched.start()
    watched.fill_reference(teacher=1)
    watched.stream.commit(watched.stream.draw(30), teacher=1)
    watched.stream.commit(changed(watched.stream.draw(WINDOW)), teacher=2)
    before = REFERENCE // WINDOW
    short, alarmed = watched.windows(before + 2)[before:]
    assert (short.num_labels, short.teachers, short.verdicts[0].status) == (30, {"v1": 30}, "too_few")
    assert (alarmed.teacher, alarmed.teachers) == ("v2", {"v2": WINDOW})
    assert (alarmed.verdicts[0].status, alarmed.cause) == ("drift", "teacher")
    assert not alarmed.brake, "a new teacher is meant to change labels"

    watched.await_ready("previous_teacher")
    watched.stream.commit(changed(watched.stream.draw(WINDOW, NOISY)), teacher=2)
    worse = watched.windows(before + 3)[-1]
    assert {one.reference: one.reference_teacher for one in worse.verdicts} == {
        "frozen": "v1",
        "previous_teacher": "v1",
    }
    assert worse.cause in ("both", "data")
    assert worse.brake


@pytest.mark.slow
def test_what_cannot_be_read_is_counted_and_does_not_end_it(make: Callable[..., Watched]) -> None:
    watched = make()
    command = watched.start()
    watched.stream.commit(watched.stream.draw(50))
    client, keys = watched.queue.edge.client, watched.queue.keys
    client.xadd(keys.labels, {"s": "0:a:9", "m": b"nonsense"})
    client.hincrby(keys.counters, "labels", 1)
    watched.stream.put += 1
    watched.stream.commit(watched.stream.draw(50))
    (record,) = watched.windows(1)
    assert (record.num_labels, record.labels_seen) == (WINDOW, WINDOW + 1)
    watched.check_counts(record)
    assert "MessageError" in watched.metrics()
    assert command.stop() == 0


@pytest.mark.slow
def test_a_new_reference_is_begun_and_the_brake_released_where_somebody_says_so(
    make: Callable[..., Watched],
) -> None:
    watched = make()
    command = watched.start()
    watched.fill_reference()
    watched.stream.commit(watched.stream.draw(WINDOW, NOISY))
    before = REFERENCE // WINDOW + 1
    assert watched.windows(before)[-1].brake
    assert command.stop() == 0
    watched.start("--new-reference")
    watched.stream.commit(watched.stream.draw(REFERENCE, NOISY))
    watched.await_ready("frozen", times=2)
    watched.stream.commit(watched.stream.draw(2 * WINDOW, NOISY))
    records = watched.windows(before + REFERENCE // WINDOW + 2)[before:]
    assert not records[0].brake
    assert records[-1].verdicts[0].status == "no_drift"
    assert not records[-1].brake
