"""Many real labelers, one real trainer, one real Redis: labels a second, commit latency, and who is busy.

All labelers begin at the same moment, once all have started. CPU shares, latencies and the rates of the steady part are
of the time from then until the last shard is taken.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import psutil
import redis

from benchmarks.scale.server import ScriptTime, ServerFacts, every_call_logged, facts_of, script_times, share_of_core
from benchmarks.stub.corpus import write_stub_corpus
from benchmarks.stub.counting import times_trained
from benchmarks.stub.measured_roles import Kind, MeasuredRoles, measured_roles, stub_config
from xpm_stream.config.queue_sections import RedisConfig
from xpm_stream.label_queue import QueueStats, connect, start_or_join
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.stages.run_folder import RunFolder

_LOOK_EVERY_S: Final = 0.25
_KINDS: Final[tuple[Kind, ...]] = ("label", "train", "promote")
_LOGGED_CALLS: Final = 5000  # few, because they count in the memory of Redis
_GIVE_UP_S: Final = 1800.0


class EndToEnd(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of many labelers showed."""

    labelers: int
    samples: int
    batch_images: int
    budget: int  # labels
    fsync: str
    start_s: float  # until all labelers were ready to begin
    steady_s: float
    committed_per_s: float
    trained_per_s: float  # acknowledged: in a durable checkpoint
    whole_s: float  # from the first commit until every sample was in a durable checkpoint
    whole_per_s: float
    commit_p50_ms: float
    commit_p99_ms: float
    commit_max_ms: float
    commits: int
    bytes_in_per_label: float  # what labelers and trainer sent to Redis
    peak_used_bytes: int
    peak_unacked: int
    budget_full: float  # share of the looks at which the budget was spent
    redis_core: float  # cores: the thread that runs commands
    redis_all: float  # with its background threads and the rewriting of its append-only file
    labelers_cores: float
    trainer_cores: float
    machine_idle: float  # share of all cores, whoever else uses them
    cores: int
    scripts: list[ScriptTime]


@dataclass(slots=True)
class _Look:
    at_s: float
    facts: ServerFacts
    stats: QueueStats
    cpu_s: dict[str, float]
    idle_s: float


def measure(
    *, labelers: int = 64, samples_each: int = 4000, batch_images: int = 8, fsync: str = "everysec", budget: int = 4096
) -> EndToEnd:
    """Run labelers, a trainer and a promoter until a stub corpus is finished.

    Raises:
        RoleFailed: a role ended with an error.
        AssertionError: a sample was lost or trained twice.
    """
    with tempfile.TemporaryDirectory(prefix="xpm-scale-") as temporary:
        folder = Path(temporary)
        # Four shards each, so that labelers take shards while others commit.
        usable = write_stub_corpus(folder / "corpus", shards=4 * labelers, samples_per_shard=max(1, samples_each // 4))
        settings = RedisConfig.model_validate({"fsync": fsync})
        with start_or_join(settings, run_folder=folder / "run") as server, redis.Redis.from_url(server.url) as client:
            config = stub_config(
                folder,
                redis_url=server.url,
                sections={
                    "labeler": {"batch_images": batch_images},
                    "queue": {"max_unacked_labels": budget},
                    "trainer": {"checkpoint_every_steps": 64, "batch_captions": 16},
                    "promotion": {"every_steps": 1_000_000},
                },
            )
            with (
                measured_roles(config, samples=len(usable), time_commits=True) as roles,
                every_call_logged(client, newest=_LOGGED_CALLS),
            ):
                start_s, looks, scripts = _run(roles, client, labelers=labelers)
                resume = CheckpointStore(f"{RunFolder.of(config).registry_url(config)}/resume")
                latest = resume.latest()
                assert latest is not None
                counts = times_trained(resume.read(latest.name))
                assert counts.min() == counts.max() == 1, "a sample was lost or trained twice"
                return _summed_up(looks, roles, samples=len(usable), fsync=fsync, start_s=start_s, scripts=scripts)


def _run(roles: MeasuredRoles, client: redis.Redis, *, labelers: int) -> tuple[float, list[_Look], list[ScriptTime]]:
    """Returns the seconds it took to start, what was seen from then on, and the scripts' times."""
    started_s = time.monotonic()
    roles.start("promote")
    roles.start("train")
    for index in range(labelers):
        roles.start("label", index)
    looks: list[_Look] = []
    with connect(roles.config.redis, roles.config.queue, run_folder=Path(str(roles.config.folder))) as queue:
        while not queue.stats().epoch:
            roles.check()
            time.sleep(_LOOK_EVERY_S)
        roles.begin()
        start_s = time.monotonic() - started_s
        while any(role.running for role in (*roles.of("label"), *roles.of("train"))):
            looks.append(_look(roles, client, queue.stats()))
            roles.check()
            if time.monotonic() - started_s > _GIVE_UP_S:
                raise TimeoutError(f"the run did not end within {_GIVE_UP_S:.0f} s")
            time.sleep(_LOOK_EVERY_S)
        looks.append(_look(roles, client, queue.stats()))
    roles.stop()
    return start_s, looks, script_times(client)


def _look(roles: MeasuredRoles, client: redis.Redis, stats: QueueStats) -> _Look:
    cpu_s: dict[str, float] = dict.fromkeys(_KINDS, 0.0)
    for role in roles.roles:
        cpu_s[role.kind] += role.cpu_s()
    return _Look(time.monotonic(), facts_of(client), stats, cpu_s, psutil.cpu_times().idle)


def _summed_up(
    looks: list[_Look], roles: MeasuredRoles, *, samples: int, fsync: str, start_s: float, scripts: list[ScriptTime]
) -> EndToEnd:
    labelers, budget = roles.of("label"), roles.config.queue.max_unacked_labels
    commits = sorted(taken for role in labelers for taken in role.report().commits)
    # The steady part: shards are left to take. A corpus so short that there is none gives the whole.
    steady = [look for look in looks if look.stats.shards_pending > 0 or not look.stats.shards_finished]
    steady = steady if len(steady) > 3 else looks
    first, last = steady[0], steady[-1]
    seconds = last.at_s - first.at_s
    in_steady = [taken for at, taken in commits if first.at_s <= at <= last.at_s]
    p50, p99 = np.percentile(in_steady, [50, 99])
    committed = last.stats.labels_committed - first.stats.labels_committed
    done_s = next(look.at_s for look in looks if look.stats.labels_acknowledged >= samples)
    whole_s = done_s - (commits[0][0] - commits[0][1])
    cores = psutil.cpu_count() or 1
    return EndToEnd(
        labelers=len(labelers), samples=samples, batch_images=roles.config.labeler.batch_images, budget=budget,
        fsync=fsync, start_s=start_s, steady_s=seconds,
        committed_per_s=committed / seconds,
        trained_per_s=(last.stats.labels_acknowledged - first.stats.labels_acknowledged) / seconds,
        whole_s=whole_s, whole_per_s=samples / whole_s,
        commit_p50_ms=1000 * float(p50), commit_p99_ms=1000 * float(p99), commit_max_ms=1000 * max(in_steady),
        commits=len(in_steady),
        bytes_in_per_label=(last.facts.bytes_in - first.facts.bytes_in) / max(1, committed),
        peak_used_bytes=max(look.facts.used_bytes for look in looks),
        peak_unacked=max(look.stats.unacked_labels for look in looks),
        budget_full=sum(look.stats.unacked_labels >= budget for look in steady) / len(steady),
        redis_core=share_of_core(first.facts, last.facts),
        redis_all=(last.facts.cpu_s - first.facts.cpu_s) / seconds,
        labelers_cores=(last.cpu_s["label"] - first.cpu_s["label"]) / seconds,
        trainer_cores=(last.cpu_s["train"] - first.cpu_s["train"]) / seconds,
        machine_idle=(last.idle_s - first.idle_s) / seconds / cores,
        cores=cores,
        scripts=scripts,
    )  # fmt: skip
