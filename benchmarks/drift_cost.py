"""What a drift monitor costs: of Redis, of a processor, and for its thresholds.

    python -m benchmarks.drift_cost [--labels N] [--rounds N] [--skip-calibration]

Labels go through the real queue, read by a trainer alone and by a trainer and a monitor; CPU times are those of the
process itself and of redis-server, so that a busy machine does not move them. Reading without windows is what every
label costs; a window's judgement comes on top, once for `drift.window_labels` labels. Calibration is one reference's,
with the defaults, in one core's seconds; it runs at low priority beside the monitor.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import redis

from benchmarks.drift_labels import LabelModel
from benchmarks.figures import Figure, paired_ratios, print_figures
from benchmarks.queue_throughput import message
from xpm_stream.config.monitor_sections import DriftConfig
from xpm_stream.config.queue_sections import QueueConfig, RedisConfig
from xpm_stream.label_queue import CommitBatch, Cursor, Delivery, LabelQueue, ShardRecord, connect, start_or_join
from xpm_stream.label_queue.watching_labels import LabelWatcher, StreamPlace
from xpm_stream.monitoring.drift_reference import build_reference
from xpm_stream.monitoring.drift_thresholds import calibrate
from xpm_stream.monitoring.drift_windows import WindowLimits
from xpm_stream.monitoring.label_measures import measures_of
from xpm_stream.records import LabelMessage, ShardId

BATCH = 16  # labels of a commit, and of a trainer's read


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """CPU seconds of one round of labels."""

    trainer: float  # reading, decoding, acknowledging
    monitor: float  # reading, decoding, measuring
    redis: float  # all that redis-server did for the round


def measure(*, labels: int = 4000, rounds: int = 7) -> list[Figure]:
    """A trainer alone and one with a monitor beside it, in turns, on an embedded server of our own."""
    config = QueueConfig(max_unacked_labels=10 * labels)
    with (
        tempfile.TemporaryDirectory(prefix="xpm-drift-cost-") as folder,
        start_or_join(RedisConfig(), run_folder=Path(folder)) as server,
        connect(RedisConfig(url=server.url), config, run_folder=Path(folder)) as queue,
        redis.Redis.from_url(server.url) as client,
    ):
        queue.raise_epoch()
        alone, watched = _rounds(queue, client, labels=labels, rounds=rounds)
    return [
        Figure(
            name="redis-server CPU with a monitor : without",
            values=paired_ratios([one.redis for one in watched], [one.redis for one in alone]),
            unit="ratio",
            detail=f"{labels:,} labels committed, read, acknowledged: {_micros(alone, 'redis', labels)} each without",
        ),
        Figure(
            name="monitor's CPU a label : trainer's CPU to read and acknowledge it",
            values=paired_ratios([one.monitor for one in watched], [one.trainer for one in watched]),
            unit="ratio",
            detail=f"{_micros(watched, 'monitor', labels)} a label for the monitor; no windows judged",
        ),
    ]


def calibration(rounds: int) -> Figure:
    """Seconds of one core for the thresholds of one reference, with the defaults."""
    config = DriftConfig()
    drawn = LabelModel().draw(config.reference_labels, np.random.default_rng(0))
    reference = build_reference(drawn, name="frozen", teacher="v1")
    limits = WindowLimits(
        max_labels=config.window_labels, max_seconds=config.window_s, min_labels=config.min_window_labels
    )
    seconds = []
    for _ in range(rounds):
        started = time.process_time()
        calibrate(reference, limits, false_alarm_windows=config.false_alarm_windows, block_labels=config.block_labels)
        seconds.append(time.process_time() - started)
    return Figure(
        name="calibration of one reference",
        values=seconds,
        unit="CPU s",
        detail=f"{config.reference_labels:,} labels, windows of {config.min_window_labels} to {config.window_labels}, "
        f"{config.false_alarm_windows:.0f} windows between false alarms",
    )


def _rounds(queue: LabelQueue, client: redis.Redis, *, labels: int, rounds: int) -> tuple[list[Passed], list[Passed]]:
    alone: list[Passed] = []
    watched: list[Passed] = []
    watcher = LabelWatcher(queue, StreamPlace())
    for number in range(rounds + 1):
        for turn, (found, onlooker) in enumerate(((alone, None), (watched, watcher))):
            shard = ShardRecord(url=f"file:///shards/{number}-{turn}.tar", shard_id=ShardId(f"{number:08x}{turn:08x}"))
            made = [message(shard.sample(ordinal)) for ordinal in range(labels)]
            passed = _pass(queue, client, shard, made, watcher=onlooker)
            if number:  # the first round loads the scripts and warms the server
                found.append(passed)
        watcher.read()  # what was put on the stream while nobody watched is gone: missed, and not read twice
    return alone, watched


def _pass(
    queue: LabelQueue,
    client: redis.Redis,
    shard: ShardRecord,
    made: Sequence[LabelMessage],
    *,
    watcher: LabelWatcher | None,
) -> Passed:
    """One shard's labels: committed, looked at, read and acknowledged."""
    before = _server_cpu(client)
    queue.add_shards([shard])
    lease = queue.acquire("labeler-0")
    assert lease is not None
    for start in range(0, len(made), BATCH):
        stop = min(start + BATCH, len(made))
        commit = CommitBatch(cursor=Cursor(stop, stop * 512), labels=made[start:stop], finished=stop == len(made))
        lease = queue.commit(lease, commit)
    started = time.process_time()
    seen = _watch(watcher) if watcher is not None else 0
    looked = time.process_time()
    assert watcher is None or seen == len(made)
    held: list[Delivery] = []
    while found := queue.read("rank0", count=BATCH):
        held += found
    assert queue.acknowledge(held) == len(made)
    ended = time.process_time()
    return Passed(trainer=ended - looked, monitor=looked - started, redis=_server_cpu(client) - before)


def _watch(watcher: LabelWatcher) -> int:
    seen = 0
    while True:
        page = watcher.read()
        for label in page.labels:
            assert isinstance(label.message, LabelMessage)
            measures_of(label.message)
        seen += len(page.labels)
        if page.ends:
            return seen


def _server_cpu(client: redis.Redis) -> float:
    said = client.info("cpu")
    return float(said["used_cpu_user"]) + float(said["used_cpu_sys"])


def _micros(passed: Sequence[Passed], part: str, labels: int) -> str:
    return f"{1e6 * statistics.median(getattr(one, part) for one in passed) / labels:.0f} µs"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=4000, help="labels a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--skip-calibration", action="store_true")
    asked = parser.parse_args()
    figures = measure(labels=asked.labels, rounds=asked.rounds)
    print_figures(figures if asked.skip_calibration else [*figures, calibration(rounds=3)])
