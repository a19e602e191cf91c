"""What is tried: cells of crash point x fault x seed, and what a seed varies."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from benchmarks.faults.processes import Kind
from xpm_stream.crash_points import CRASH_POINTS

Fault = Literal["kill", "freeze", "redis restart", "redis cut", "redis rolled back", "disk full", "redis disk full"]
FAULTS: Final[tuple[Fault, ...]] = get_args(Fault)
POINTS: Final = tuple(sorted(CRASH_POINTS))
ROUNDS: Final = 2  # each cell meets its fault this often, the second time on the way back from the first

# The most arrivals that are waited for in a round; elsewhere one of 3. A point must be reached twice in a short run.
_ONCE: Final = (
    "trainer.after_epoch",
    "trainer.after_settle",
    "trainer.after_candidate_before_proposal",
    "trainer.after_proposal",
    "labeler.after_lease",
)
_RARE: Final = (
    "promoter.before_log",
    "promoter.after_log",
    "labeler.after_relabel_lease",
    "labeler.after_relabel_label",
    "labeler.after_relabel_commit",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One run that meets one fault at one crash point, twice; everything random in it follows from its seed."""

    point: str
    fault: Fault
    seed: int
    samples: int

    @property
    def name(self) -> str:
        """For people and folders."""
        return f"{self.point} - {self.fault} - seed {self.seed}"

    @property
    def role(self) -> Kind:
        """Whose process meets the fault; a checkpoint's points are met by the trainer."""
        owner = self.point.partition(".")[0]
        if owner == "labeler":
            return "labeler"
        return "promoter" if owner == "promoter" else "trainer"

    def draw(self) -> Draw:
        """Return what the seed decides."""
        draw = random.Random(f"{self.point}/{self.fault}/{self.seed}")
        most = 1 if self.point in _ONCE else 2 if self.point in _RARE else 3
        return Draw(
            arrivals=(draw.randint(1, most), 1 if "relabel" in self.point else draw.randint(1, most)),
            shards=draw.randint(7, 11),
            batch_images=draw.randint(4, 10),
            batch_captions=draw.randint(4, 10),
            checkpoint_every_steps=draw.randint(2, 4),
            revoke=draw.random() < 0.5,
            outage_s=draw.choice((0.3, 0.8, 2.5)),
            lose_answers=draw.random() < 0.5,
            kept_fraction=draw.uniform(0.15, 0.97),
            file_limit_bytes=draw.choice((0, 300, 2000)),
            successor_works_first=draw.random() < 0.5,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """What a seed decides."""

    arrivals: tuple[int, ...]  # at which arrival at the point each round's fault comes
    shards: int
    batch_images: int
    batch_captions: int
    checkpoint_every_steps: int
    revoke: bool  # whether the first teacher is revoked, beside growing stale
    outage_s: float  # how long Redis is away; longer than the lease in some
    lose_answers: bool  # Redis cut: whether requests still arrive while their answers are lost
    kept_fraction: float  # Redis rolled back: how much of all it ever wrote the older copy has
    file_limit_bytes: int  # disk full: no file of the role may grow beyond it
    successor_works_first: bool  # freeze: the frozen one returns after its successor's first work


def cells(
    *, points: Sequence[str] = POINTS, faults: Sequence[Fault] = FAULTS, seeds: Sequence[int], samples_each: int
) -> list[Cell]:
    """Return every cell asked for. Redis on a full disk is a variant for labelers' points only."""
    return [
        Cell(point=point, fault=fault, seed=seed, samples=samples_each)
        for seed in seeds
        for point in points
        for fault in faults
        if fault != "redis disk full" or point.startswith("labeler.")
    ]


def short_form(*, samples_each: int) -> list[Cell]:
    """Return a small fixed selection: every point once by SIGKILL or SIGSTOP, every fault at least twice."""
    return list(_short_form(samples_each))


def _short_form(samples_each: int) -> Iterator[Cell]:
    for number, point in enumerate(POINTS):
        yield Cell(point=point, fault=("kill", "freeze")[number % 2], seed=0, samples=samples_each)
    for fault, points in _SHORT.items():
        for point in points:
            yield Cell(point=point, fault=fault, seed=0, samples=samples_each)


_SHORT: Final[dict[Fault, tuple[str, ...]]] = {
    "redis restart": ("labeler.after_label", "trainer.after_checkpoint_before_ack"),
    "redis cut": ("labeler.after_label", "trainer.before_give_back"),
    "redis rolled back": ("labeler.after_commit", "trainer.after_ack", "promoter.before_log"),
    "disk full": ("trainer.before_checkpoint", "promoter.before_log"),
    "redis disk full": ("labeler.after_label", "labeler.after_relabel_label"),
}
