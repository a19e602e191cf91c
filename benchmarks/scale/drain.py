"""How fast labels leave: read only, through the trainer's real feed (fetch, decode, collate), and the real trainer.

All three take the same labels, which one real labeler wrote before: its own rate, alone, is a figure too.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import redis

from benchmarks.stub.corpus import write_stub_corpus
from benchmarks.stub.counting import BASE_CLASSES
from benchmarks.stub.measured_roles import MeasuredRoles, measured_roles, stub_config
from xpm_stream.config import RunConfig
from xpm_stream.config.queue_sections import RedisConfig
from xpm_stream.label_queue import LabelQueue, TrainedLedger, connect, start_or_join
from xpm_stream.label_queue.keys import GROUP
from xpm_stream.methods import find_method
from xpm_stream.stages.label_feed import LabelFeed, Starved
from xpm_stream.stages.process import role_process
from xpm_stream.stages.sample_claims import SampleClaims

_GIVE_UP_S = 1800.0


class Drain(msgspec.Struct, frozen=True, kw_only=True):
    """Labels a second of one process alone, and the microseconds of its CPU that a label costs."""

    labels: int
    batch_images: int  # of the labeler's commits
    batch_captions: int  # of the trainer's steps and reads
    labeler_per_s: float
    labeler_us: float
    read_per_s: float
    read_us: float
    feed_per_s: float
    feed_us: float
    trainer_per_s: float
    trainer_us: float


def measure(*, labels: int = 20_000, batch_images: int = 8, batch_captions: int = 16) -> Drain:
    """Have one labeler write so many labels, then drain them in three ways.

    Raises:
        RoleFailed: a role ended with an error.
    """
    with tempfile.TemporaryDirectory(prefix="xpm-scale-") as temporary:
        folder = Path(temporary)
        samples = len(write_stub_corpus(folder / "corpus", shards=10, samples_per_shard=labels // 10))
        with (
            start_or_join(RedisConfig(), run_folder=folder / "run") as server,
            redis.Redis.from_url(server.url) as client,
        ):
            config = stub_config(
                folder,
                redis_url=server.url,
                sections={
                    "labeler": {"batch_images": batch_images},
                    "queue": {"max_unacked_labels": 10 * samples},
                    "trainer": {"batch_captions": batch_captions, "checkpoint_every_steps": 64},
                    "promotion": {"every_steps": 1_000_000},
                },
            )
            with (
                measured_roles(config, samples=samples) as roles,
                connect(config.redis, config.queue, run_folder=folder / "run") as queue,
            ):
                promoter = roles.start("promote")
                labeler_s, labeler_cpu_s = _until_labelled(roles, queue, samples=samples)
                read_s, read_cpu_s = _timed(_read_all, queue, count=batch_captions, samples=samples)
                _deliver_again(queue, client)
                feed_s, feed_cpu_s = _timed(_feed_all, queue, config=config, samples=samples)
                _deliver_again(queue, client)
                trainer_s, trainer_cpu_s = _until_trained(roles, queue, samples=samples)
                promoter.process.terminate()
    return Drain(
        labels=samples, batch_images=batch_images, batch_captions=batch_captions,
        labeler_per_s=samples / labeler_s, labeler_us=1e6 * labeler_cpu_s / samples,
        read_per_s=samples / read_s, read_us=1e6 * read_cpu_s / samples,
        feed_per_s=samples / feed_s, feed_us=1e6 * feed_cpu_s / samples,
        trainer_per_s=samples / trainer_s, trainer_us=1e6 * trainer_cpu_s / samples,
    )  # fmt: skip


def _until_labelled(roles: MeasuredRoles, queue: LabelQueue, *, samples: int) -> tuple[float, float]:
    """One labeler from its first commit to its last: seconds, and CPU seconds of its process."""
    labeler = roles.start("label")
    roles.begin()
    _wait(roles, lambda: queue.stats().labels_committed > 0)
    started, used_s, done = time.monotonic(), labeler.cpu_s(), queue.stats().labels_committed
    _wait(roles, lambda: queue.stats().labels_committed >= samples)
    seconds, cpu_s = time.monotonic() - started, labeler.cpu_s() - used_s
    labeler.process.terminate()  # it would wait for the labels to be trained
    labeler.process.join()
    share = samples / (samples - done)
    return seconds * share, cpu_s * share


def _until_trained(roles: MeasuredRoles, queue: LabelQueue, *, samples: int) -> tuple[float, float]:
    trainer = roles.start("train")
    _wait(roles, lambda: queue.stats().labels_acknowledged > 0)
    started, used_s, done = time.monotonic(), trainer.cpu_s(), queue.stats().labels_acknowledged
    # The last, smaller step waits for labels that might follow: not a part of the rate.
    nearly = samples - samples // 20
    _wait(roles, lambda: queue.stats().labels_acknowledged >= nearly)
    share = samples / (queue.stats().labels_acknowledged - done)
    seconds, cpu_s = time.monotonic() - started, trainer.cpu_s() - used_s
    return seconds * share, cpu_s * share


def _read_all(queue: LabelQueue, *, count: int, samples: int) -> None:
    queue.raise_epoch()
    total = 0
    while found := queue.read("trainer", count=count):
        total += len(found)
    assert total == samples, f"{total} labels of {samples}"


def _feed_all(queue: LabelQueue, *, config: RunConfig, samples: int) -> None:
    method = find_method(config.method)(config, base_classes=BASE_CLASSES)
    total = 0
    with role_process("drain", kind="trainer", config=config) as role:
        claims = SampleClaims(TrainedLedger())
        feed = LabelFeed(role, queue=queue, method=method, base_feed=None, claims=claims, epoch=queue.raise_epoch())
        for item in feed.items():
            assert not isinstance(item, Starved), f"{total} labels of {samples}"
            total += len(item.admitted)
            claims.book_trained(admitted.message.sample for admitted in item.admitted)
            if total + config.trainer.batch_captions > samples:
                return


def _deliver_again(queue: LabelQueue, client: redis.Redis) -> None:
    """As if nobody had read: the next trainer's group begins at the first label."""
    client.xgroup_destroy(queue.keys.labels, GROUP)


def _timed(work: Any, *arguments: Any, **options: Any) -> tuple[float, float]:
    started, used_s = time.perf_counter(), time.process_time()
    work(*arguments, **options)
    return time.perf_counter() - started, time.process_time() - used_s


def _wait(roles: MeasuredRoles, reached: Any) -> None:
    started = time.monotonic()
    while not reached():
        roles.check()
        if time.monotonic() - started > _GIVE_UP_S:
            raise TimeoutError(f"nothing was reached within {_GIVE_UP_S:.0f} s")
        time.sleep(0.01)
