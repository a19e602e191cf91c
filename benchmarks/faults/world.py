"""Everything one cell works with: its corpus, configuration, Redis, registry and processes."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec
import redis.exceptions

from benchmarks.faults.plan import Cell, Draw
from benchmarks.faults.processes import Kind, Launched, start_role, until
from benchmarks.faults.redis_server import OwnRedis, Proxy
from benchmarks.stub.corpus import propose_stub_teacher, write_stub_shard
from benchmarks.stub.counting import COUNTING_OPTIMISER, METHOD, PACE_VARIABLE, SAMPLES_VARIABLE
from xpm_stream.config import RunConfig
from xpm_stream.config.loading import parse_config
from xpm_stream.label_queue.keys import Keys
from xpm_stream.label_queue.shards import ShardRow
from xpm_stream.registry.promotion_log import Candidate, PromotionLog
from xpm_stream.stages.run_folder import RunFolder
from xpm_stream.stages.shard_registration import add_shards

LEASE_S: Final = 2.0
LABELERS: Final = 2
NOUNLESS_EVERY: Final = 10
BROKEN_EVERY: Final = 17
PARTS: Final = 3  # of the corpus: the first is in the configuration, the others are added by hand
_PACE_MS: Final = 25  # for a batch of labels, and for a step: so that roles overlap
_SMALLEST_TALLY: Final = 2048  # weights; a checkpoint's files are larger than any limit of a full disk


@dataclass
class Slot:
    """A role's place: who has it now, and how its next holder is started."""

    kind: Kind
    index: int
    holder: Launched | None = None
    arm: str | None = None  # XPM_STREAM_CRASH_AT of the next holder
    wanted: bool = False  # somebody should hold it
    under_fault: bool = False  # the fault's business: not to be supervised
    held_by: list[Launched] = field(default_factory=list)

    @property
    def name(self) -> str:
        """As the role calls itself."""
        return f"labeler-{self.index}" if self.kind == "labeler" else self.kind

    @property
    def finished(self) -> bool:
        """Whether its holder ended well."""
        return self.holder is not None and self.holder.exit_status == 0

    @property
    def struck(self) -> bool:
        """Whether its holder stands at its crash point, or was killed there."""
        return self.holder is not None and (self.holder.killed or self.holder.stopped)


class World:
    """A cell's things; `close` leaves no process."""

    def __init__(self, cell: Cell, *, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.cell = cell
        self.draw: Draw = cell.draw()
        self.folder = folder
        # Redis that must sync every write exits when its disk is full; one that syncs each second refuses writes.
        self.redis = OwnRedis(folder / "redis", fsync="everysec" if cell.fault == "redis disk full" else "always")
        self.proxy = Proxy(self.redis.socket) if cell.fault == "redis cut" else None
        self.slots = [Slot("promoter", 0), *(Slot("labeler", index) for index in range(LABELERS)), Slot("trainer", 0)]
        self.usable: list[int] = []
        self.broken = 0
        self._variables = {
            SAMPLES_VARIABLE: str(max(_SMALLEST_TALLY, cell.samples)),
            PACE_VARIABLE: str(_PACE_MS),
            "OMP_NUM_THREADS": "1",
        }
        self._teachers = 0
        self._started = 0
        self._parts = 1

    # -- before the run

    async def open(self) -> None:
        """Start Redis, and the proxy if there is one; write the corpus."""
        await self.redis.start()
        if self.proxy is not None:
            await self.proxy.start()
        self._write_corpus()
        (self.folder / "output").mkdir()

    async def close(self) -> None:
        """End every process."""
        for launched in [one for slot in self.slots for one in slot.held_by]:
            launched.kill()
        if self.proxy is not None:
            await self.proxy.close()
        self.redis.close()

    def _write_corpus(self) -> None:
        corpus = self.folder / "corpus"
        samples, shards = self.cell.samples, self.draw.shards
        bounds = [samples * shard // shards for shard in range(shards + 1)]
        for part in range(PARTS):
            (corpus / str(part)).mkdir(parents=True)
        for shard, (first, end) in enumerate(pairwise(bounds)):
            self.usable += write_stub_shard(
                corpus / str(_part(shard, shards)) / f"{shard:03d}.tar",
                first=first,
                samples=end - first,
                nounless_every=NOUNLESS_EVERY,
                broken_every=BROKEN_EVERY,
            )
        broken = range(BROKEN_EVERY - 1, samples, BROKEN_EVERY)
        self.broken = sum(number % NOUNLESS_EVERY != NOUNLESS_EVERY - 1 for number in broken)

    @property
    def config(self) -> RunConfig:
        """The roles' configuration."""
        return self._config(self.proxy.url if self.proxy is not None else self.redis.url)

    @property
    def direct_config(self) -> RunConfig:
        """The harness's own: past the proxy."""
        return self._config(self.redis.url)

    def _config(self, redis_url: str) -> RunConfig:
        draw = self.draw
        tree: dict[str, Any] = {
            "folder": str(self.folder / "run"),
            "method": METHOD,
            "optimiser": dict(COUNTING_OPTIMISER),
            "redis": {"url": redis_url, "connect_timeout_s": 2.0, "retry_for_s": 60.0},
            "queue": {"lease_ttl_s": LEASE_S, "max_unacked_labels": 80, "max_relabels": 1000},
            "data": {"shards": [self._shards_of(0)]},
            "labeler": {"batch_images": draw.batch_images, "threads": 1, "teacher_poll_s": 0.2},
            "trainer": {
                "batch_base": 0,
                "batch_captions": draw.batch_captions,
                "checkpoint_every_steps": draw.checkpoint_every_steps,
                "max_teacher_lag": 0,
                "stall_timeout_s": 60.0,
                "threads": 1,
            },
            "promotion": {"every_steps": 9, "poll_s": 0.1, "gates": {"enabled": False}},
            "metrics": {"enabled": False},
        }
        return parse_config(tree, source=self.cell.name)

    def _shards_of(self, part: int) -> str:
        return str(self.folder / "corpus" / str(part) / "*.tar")

    @property
    def parts_left(self) -> int:
        """How many parts of the corpus are not added yet."""
        return PARTS - self._parts

    def add_part(self) -> None:
        """Add the next part of the corpus by hand, as `xpm-stream shards add` does."""
        add_shards(self.direct_config, [self._shards_of(self._parts)])
        self._parts += 1

    def add_parts_again(self) -> None:
        """Add by hand again what was added by hand: a Redis put back to before that does not know it."""
        for part in range(1, self._parts):
            add_shards(self.direct_config, [self._shards_of(part)])

    # -- roles

    def slot(self, name: str) -> Slot:
        """Return a role's place by its name."""
        return next(slot for slot in self.slots if slot.name == name)

    def start(self, slot: Slot) -> Launched:
        """Start the slot's next holder."""
        self._started += 1
        slot.wanted = True
        slot.holder = start_role(
            slot.kind,
            index=slot.index,
            config=self.config,
            variables=self._variables,
            crash_at=slot.arm,
            output=self.folder / "output" / f"{self._started:02d}-{slot.name}.txt",
        )
        slot.held_by.append(slot.holder)
        return slot.holder

    # -- looking

    @property
    def log(self) -> PromotionLog:
        """The promotion log, as it is now."""
        return PromotionLog(RunFolder.of(self.config).registry_url(self.config))

    def propose_teacher(self) -> Candidate:
        """Propose a further teacher; the promoter will find it whole."""
        os.environ[SAMPLES_VARIABLE] = self._variables[SAMPLES_VARIABLE]
        self._teachers += 1
        return propose_stub_teacher(self.config, number=self._teachers - 1)

    def counters(self) -> dict[str, int]:
        """Redis' running totals; empty while it is away. `epoch` and `unacked` are among them."""
        keys = Keys(self.config.redis.namespace)
        with contextlib.suppress(redis.exceptions.RedisError, OSError):
            found = {name.decode(): int(value) for name, value in self.redis.client.hgetall(keys.counters).items()}
            found["epoch"] = int(self.redis.client.hget(keys.meta, "epoch") or 0)
            found["unacked"] = int(self.redis.client.xlen(keys.labels)) + int(self.redis.client.hlen(keys.relabels))
            return found
        return {}

    def shard_rows(self) -> dict[str, ShardRow]:
        """Return the shard ledger by shard; empty while Redis is away."""
        keys = Keys(self.config.redis.namespace)
        with contextlib.suppress(redis.exceptions.RedisError, OSError):
            found = self.redis.client.hgetall(keys.shards)
            return {name.decode(): msgspec.msgpack.decode(packed, type=ShardRow) for name, packed in found.items()}
        return {}

    def work_left(self) -> bool:
        """Whether a shard is not finished or a label not trained; false while Redis is away."""
        counters = self.counters()
        return bool(counters) and (
            counters["unacked"] > 0 or any(row.state != "finished" for row in self.shard_rows().values())
        )

    def relabels(self) -> int:
        """Return how many samples wait to be labelled again; 1 while Redis is away, for nobody knows."""
        keys = Keys(self.config.redis.namespace)
        with contextlib.suppress(redis.exceptions.RedisError, OSError):
            return int(self.redis.client.hlen(keys.relabels))
        return 1

    def relabel_leases(self) -> dict[str, str]:
        """Return who holds which relabel work: sample -> lease."""
        keys = Keys(self.config.redis.namespace)
        with contextlib.suppress(redis.exceptions.RedisError, OSError):
            found = self.redis.client.hgetall(keys.relabel_leases)
            return {sample.decode(): lease.decode() for sample, lease in found.items()}
        return {}

    async def stop(self, slot: Slot) -> int | None:
        """Ask the slot's holder to end; return its exit status."""
        holder = slot.holder
        assert holder is not None
        slot.wanted = False
        holder.signal(signal.SIGTERM)
        await until(lambda: holder.ended, what=f"{slot.name} ending after SIGTERM", within_s=30)
        return holder.exit_status


def _part(shard: int, shards: int) -> int:
    """Half of the shards come first, then a quarter, then the rest."""
    return 0 if shard < shards // 2 else 1 if shard < shards * 3 // 4 else 2
