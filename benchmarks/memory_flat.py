"""Whether the memory of labeler, trainer and promoter stays flat over 100,000 samples, and what Redis keeps afterwards.

    python -m benchmarks.memory_flat [--samples N] [--payload reference | inline] [--json FILE] [--markdown FILE]

The real processes and the real Redis on the stub method, with promotions meanwhile. Memory is looked at from outside,
against the samples that a role has dealt with; what it takes to warm up is left out. RSS counts the pages that a
process shares with others (torch's libraries), USS only its own.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import redis
from scipy.stats import linregress

from benchmarks.markdown import table, write_between_markers
from benchmarks.scale.server import facts_of
from benchmarks.stub.corpus import write_stub_corpus
from benchmarks.stub.counting import times_trained
from benchmarks.stub.measured_roles import MeasuredRole, MeasuredRoles, measured_roles, stub_config
from xpm_stream.config.queue_sections import RedisConfig
from xpm_stream.label_queue import LabelQueue, connect, start_or_join
from xpm_stream.monitoring.summary import describe_machine
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.stages.run_folder import RunFolder

MEGABYTE: Final = 1e6
MOST_GROWTH: Final = 0.05  # of RSS, from the end of the warm-up to the last sample
_NOUNLESS_EVERY: Final = 10  # samples that are skipped: they cost Redis a bit each
_GIVE_UP_S: Final = 3600.0
_FEWEST_LOOKS: Final = 8


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """The memory of one process over the samples it dealt with."""

    role: str
    samples: list[int]
    rss: list[int]  # bytes
    uss: list[int]
    warm_up: int  # samples left out at the start

    def kept(self, values: Sequence[int]) -> list[int]:
        """Those after the warm-up."""
        return [value for count, value in zip(self.samples, values, strict=True) if count >= self.warm_up]

    def slope(self, values: Sequence[int]) -> float:
        """Bytes for each 10,000 samples, by least squares."""
        return 10_000 * float(linregress(self.kept(self.samples), self.kept(values)).slope)

    @property
    def growth(self) -> float:
        """RSS by the fitted line from warm-up to end, as a share of that after the warm-up."""
        line = linregress(self.kept(self.samples), self.kept(self.rss))
        first = line.intercept + line.slope * self.kept(self.samples)[0]
        last = line.intercept + line.slope * self.kept(self.samples)[-1]
        return float(last / first - 1)


class LeftBehind(msgspec.Struct, frozen=True, kw_only=True):
    """What Redis keeps when every label is trained and acknowledged."""

    shards: int
    used_bytes: int  # beyond an empty server
    keys: dict[str, tuple[int, int]]  # kind of key: how many, bytes


class MemoryFlat(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run."""

    samples: int
    seconds: float
    payload: str
    courses: list[Course]
    left: LeftBehind


def measure(
    *,
    samples: int = 110_000,
    warm_up: int = 5000,
    payload: str = "reference",
    shards: int = 110,
    look_every_s: float = 0.25,
) -> MemoryFlat:
    """Stream a stub corpus through one labeler, one trainer and one promoter.

    Raises:
        RoleFailed: a role ended with an error.
        AssertionError: a sample was lost or trained twice.
    """
    with tempfile.TemporaryDirectory(prefix="xpm-memory-") as temporary:
        folder = Path(temporary)
        each = samples // shards
        usable = write_stub_corpus(
            folder / "corpus", shards=shards, samples_per_shard=each, nounless_every=_NOUNLESS_EVERY
        )
        with (
            start_or_join(RedisConfig(), run_folder=folder / "run") as server,
            redis.Redis.from_url(server.url) as client,
        ):
            empty = facts_of(client).used_bytes
            config = stub_config(
                folder,
                redis_url=server.url,
                sections={
                    "data": {"payload": payload},
                    "trainer": {"checkpoint_every_steps": 32, "max_teacher_lag": 1000},
                    "promotion": {"every_steps": max(1, samples // 16 // 20)},  # 20 teachers on the way
                },
            )
            with (
                measured_roles(config, samples=shards * each) as roles,
                connect(config.redis, config.queue, run_folder=folder / "run") as queue,
            ):
                courses, seconds = _watch(roles, queue, warm_up=warm_up, look_every_s=look_every_s)
                resume = CheckpointStore(f"{RunFolder.of(config).registry_url(config)}/resume")
                latest = resume.latest()
                assert latest is not None
                counts = times_trained(resume.read(latest.name))
                assert counts.max() == 1, "a sample was trained twice"
                assert counts.sum() == len(usable), "a sample was lost"
                left = _left_behind(client, queue, empty=empty)
    return MemoryFlat(samples=shards * each, seconds=seconds, payload=payload, courses=courses, left=left)


def _watch(roles: MeasuredRoles, queue: LabelQueue, *, warm_up: int, look_every_s: float) -> tuple[list[Course], float]:
    labeler, trainer, promoter = roles.start("label"), roles.start("train"), roles.start("promote")
    roles.begin()
    started = time.monotonic()
    seen: dict[str, list[tuple[int, int, int]]] = {"labeler": [], "trainer": [], "promoter": []}
    while labeler.running or trainer.running:
        roles.check()
        stats = queue.stats()
        labelled = stats.labels_committed + sum(stats.skipped.values())
        trained = stats.labels_acknowledged
        for name, role, count in (
            ("labeler", labeler, labelled),
            ("trainer", trainer, trained),
            ("promoter", promoter, trained),
        ):
            _note(seen[name], role, count)
        if time.monotonic() - started > _GIVE_UP_S:
            raise TimeoutError(f"the run did not end within {_GIVE_UP_S:.0f} s")
        time.sleep(look_every_s)
    seconds = time.monotonic() - started
    roles.stop()
    roles.check()
    courses = []
    for name, looks in seen.items():
        counts, rss, uss = (list(column) for column in zip(*looks, strict=True))
        courses.append(Course(role=name, samples=counts, rss=rss, uss=uss, warm_up=warm_up))
        if len(courses[-1].kept(counts)) < _FEWEST_LOOKS:
            raise ValueError(f"too short a run to say anything of the {name}: more samples, or less warm-up")
    return courses, seconds


def _note(looks: list[tuple[int, int, int]], role: MeasuredRole, count: int) -> None:
    found = role.memory()
    # The last look may meet a process that is taking itself down; only working ones count.
    if found is not None and role.running and (not looks or count > looks[-1][0]):
        looks.append((count, *found))


def _left_behind(client: redis.Redis, queue: LabelQueue, *, empty: int) -> LeftBehind:
    stats = queue.stats()
    assert stats.drained, f"not drained: {stats}"
    number: Counter[str] = Counter()
    size: Counter[str] = Counter()
    for key in client.scan_iter(count=1000):
        kind = re.sub(r"^\{[^}]*\}:", "", bytes(key).decode()).partition(":")[0]
        number[kind] += 1
        size[kind] += int(client.memory_usage(key, samples=0) or 0)
    keys = {kind: (number[kind], size[kind]) for kind in sorted(number)}
    return LeftBehind(shards=stats.shards_finished, used_bytes=facts_of(client).used_bytes - empty, keys=keys)


def report(found: MemoryFlat) -> str:
    """Two tables: memory of the roles, and what Redis keeps."""
    head = ["process", "RSS first, MB", "RSS last, MB", "growth", "goal", "RSS, kB/10,000 samples"]
    head += ["USS first, MB", "USS last, MB", "USS, kB/10,000 samples"]
    rows = []
    for course in found.courses:
        rss, uss = course.kept(course.rss), course.kept(course.uss)
        verdict = "met" if course.growth < MOST_GROWTH else "missed"
        rows.append(
            [
                course.role, f"{rss[0] / MEGABYTE:.1f}", f"{rss[-1] / MEGABYTE:.1f}", f"{course.growth:+.1%}",
                f"< {MOST_GROWTH:.0%}: {verdict}", f"{course.slope(course.rss) / 1000:+.1f}",
                f"{uss[0] / MEGABYTE:.1f}", f"{uss[-1] / MEGABYTE:.1f}", f"{course.slope(course.uss) / 1000:+.1f}",
            ]
        )  # fmt: skip
    left = found.left
    kept = [
        [f"`{kind}`", str(number), f"{size:,}", f"{size / left.shards:,.0f}"]
        for kind, (number, size) in left.keys.items()
    ]
    said = (
        f"{found.samples:,} samples, images by {found.payload}, {found.seconds:.0f} s; first: after "
        f"{found.courses[0].warm_up:,} samples. Left in Redis with every label acknowledged, of {left.shards:,} "
        f"shards: {left.used_bytes:,} bytes in all ({left.used_bytes / left.shards:,.0f} a shard)."
    )
    return f"{table(head, rows)}\n\n{said}\n\n{table(['key', 'number', 'bytes', 'bytes a shard'], kept)}"


def main(given: Sequence[str] | None = None) -> int:
    """Measure, print, write where asked; status 1 if memory grows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory_flat", description=__doc__)
    parser.add_argument("--samples", type=int, default=110_000)
    parser.add_argument("--warm-up", type=int, default=5000, help="samples left out at the start")
    parser.add_argument("--shards", type=int, default=110)
    parser.add_argument("--payload", choices=["reference", "inline"], default="reference")
    parser.add_argument("--look-every-s", type=float, default=0.25, help="seconds between two looks at the memory")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="refresh the tables between this page's markers")
    asked = parser.parse_args(given)
    when, load = datetime.datetime.now(datetime.UTC), os.getloadavg()[0]
    found = measure(
        samples=asked.samples,
        warm_up=asked.warm_up,
        payload=asked.payload,
        shards=asked.shards,
        look_every_s=asked.look_every_s,
    )
    machine = describe_machine()
    command = " ".join(["python -m benchmarks.memory_flat", *(sys.argv[1:] if given is None else given)])
    text = (
        f"{report(found)}\n\n{when:%Y-%m-%d}, {machine.cpu_cores} cores, {machine.processor}, "
        f"{machine.memory_gb:.0f} GB; load before: {load:.1f}; `{command}`"
    )
    print(text)
    if asked.markdown is not None:
        write_between_markers(asked.markdown, name="memory_flat", text=text)
    if asked.json is not None:
        document: dict[str, Any] = msgspec.to_builtins(found)
        document["growth"] = {course.role: course.growth for course in found.courses}
        document["rss_per_10000_samples"] = {course.role: course.slope(course.rss) for course in found.courses}
        asked.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return int(bool(np.any([course.growth >= MOST_GROWTH for course in found.courses])))


if __name__ == "__main__":
    sys.exit(main())
