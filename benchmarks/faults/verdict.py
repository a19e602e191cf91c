"""The judgement of a finished cell: what the last checkpoint's weights counted, and what the audit says."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import numpy as np

from benchmarks.faults.plan import Cell
from benchmarks.faults.world import World
from benchmarks.stub.counting import times_trained
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.stages.run_account import RunAccount, account_of
from xpm_stream.stages.run_folder import RunFolder


class CellResult(msgspec.Struct, kw_only=True):
    """What came of one cell."""

    point: str
    fault: str
    seed: int
    role: str
    samples: int
    lost: int = 0  # usable samples that never reached the last checkpoint's weights
    twice: int = 0  # samples that reached them more than once
    recoveries: list[float] = []  # seconds, one for each round that showed progress before the next fault
    problems: list[str] = []
    seconds: float = 0.0
    folder: str | None = None  # kept when the cell failed

    @property
    def ok(self) -> bool:
        """Whether nothing is lost, nothing trained twice, and everything adds up."""
        return not (self.lost or self.twice or self.problems)

    @classmethod
    def of(cls, cell: Cell, recoveries: list[float], problems: list[str]) -> CellResult:
        """Make one without counts."""
        return cls(
            point=cell.point,
            fault=cell.fault,
            seed=cell.seed,
            role=cell.role,
            samples=cell.samples,
            recoveries=list(recoveries),
            problems=problems,
        )

    @classmethod
    def failed(cls, cell: Cell, problem: str, recoveries: list[float]) -> CellResult:
        """Return the result of a cell that did not come to its end."""
        return cls.of(cell, recoveries, [problem])


def judge(world: World, *, recoveries: list[float]) -> CellResult:
    """Count from the weights alone, then ask the audit."""
    store = CheckpointStore(f"{RunFolder.of(world.config).registry_url(world.config)}/resume")
    latest = store.latest()
    if latest is None:
        return CellResult.failed(world.cell, "there is no resume checkpoint", recoveries)
    times = times_trained(store.read(latest.name))
    usable = np.zeros(len(times), dtype=bool)
    usable[world.usable] = True
    problems = _audit_problems(world, account_of(world.direct_config))
    if times[~usable].any():
        problems.append(f"unusable samples were trained: {np.flatnonzero(~usable & (times > 0)).tolist()[:20]}")
    result = CellResult.of(world.cell, recoveries, problems + _log_problems(world))
    result.lost = int((times[usable] == 0).sum())
    result.twice = int((times > 1).sum())
    if result.lost:
        result.problems.append(f"lost: {np.flatnonzero(usable & (times == 0)).tolist()[:20]}")
    if result.twice:
        result.problems.append(f"trained twice: {np.flatnonzero(times > 1).tolist()[:20]}")
    return result


def _audit_problems(world: World, account: RunAccount) -> list[str]:
    audit, samples = account.audit, world.cell.samples
    totals = audit.totals()
    unsettled = {name: totals[name] for name in ("queued", "relabels", "unsettled", "ahead") if totals[name]}
    found = audit.problems()
    if unsettled:
        found.append(f"not settled: {unsettled}")
    if audit.unidentified or audit.unknown_trained:
        found.append(f"{audit.unidentified} entries of no sample, {audit.unknown_trained} trained of no shard")
    if totals["samples"] != samples or totals["trained"] + totals["skipped"] + totals["dead"] != samples:
        found.append(f"the audit's sums are not the corpus ({samples} samples): {totals}")
    if totals["dead"] != world.broken:
        found.append(f"{totals['dead']} dead letters for {world.broken} broken images")
    if account.training.samples_trained != len(world.usable):
        found.append(f"the trainer counted {account.training.samples_trained} samples of {len(world.usable)}")
    return found


def _log_problems(world: World) -> list[str]:
    """No trainer that was replaced becomes the teacher's line again: epochs of promoted students never fall."""
    promoted = [entry for entry in world.log.entries() if entry.action == "promote" and entry.epoch > 0]
    return [
        f"promotion {later.number} is of epoch {later.epoch}, after number {earlier.number} of epoch {earlier.epoch}"
        for earlier, later in pairwise(promoted)
        if later.epoch < earlier.epoch
    ]
