"""`summary.json`: what a run came to, for people and for scripts. Tables of it are in summary_tables.py."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from xpm_stream.errors import DataError

SUMMARY_SCHEMA_VERSION: Final = 1
FIRST_TEACHER: Final = "first_teacher"
FINAL_STUDENT: Final = "final_student"
_DISTRIBUTIONS: Final = ("xpm-stream", "torch", "torchvision", "transformers", "numpy", "pycocotools", "redis")
UNITS: Final = {
    "ap": "percent, 0..100; null where a split has no ground truth",
    "proposal_recall": "percent of objects within the first k proposals at IoU 0.5",
    "seconds": "wall clock",
    "created_at_s": "Unix time",
    "accuracy": "percent of pseudo labels whose word is in the image with IoU >= 0.5",
}


class SplitScores(msgspec.Struct, frozen=True, kw_only=True):
    """AP of one split in percent, 0..100; None where no class of it has ground truth."""

    mask_ap50: float | None  # IoU 0.5
    box_ap50: float | None
    mask_ap: float | None = None  # mean over IoU 0.50:0.05:0.95
    box_ap: float | None = None
    num_instances: int = 0


class ClassScores(msgspec.Struct, frozen=True, kw_only=True):
    """One class; None in a setting that was not judged, or where no image counts for the class's split."""

    split: str  # base or target
    constrained: SplitScores | None = None
    generalized: SplitScores | None = None


class ModelScores(msgspec.Struct, frozen=True, kw_only=True):
    """One evaluated model."""

    checkpoint: str
    promotion: int | None = None  # its number in the promotion log, where it has one
    step: int | None = None  # optimiser step of the student
    num_images: int
    protocol: str = "coco"  # whose rules: coco, lvis, open_images
    constrained: dict[str, SplitScores]  # base, target
    generalized: dict[str, SplitScores]  # base, target, all
    proposal_recall: dict[str, dict[str, float | None]] = msgspec.field(default_factory=dict)  # split -> k -> percent
    classes: dict[str, ClassScores] = msgspec.field(default_factory=dict)  # not kept in summary.json
    absent_classes: list[str] = msgspec.field(default_factory=list)  # of the split, but not of the annotations


class PromotionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the promotion log, and what became of the teacher it made."""

    number: int
    action: str  # promote, refuse, inconclusive, rollback, revoke
    checkpoint: str
    epoch: int
    step: int
    created_at_s: float
    labels: int | None = None  # samples this teacher labelled
    accuracy: dict[str, float | None] = msgspec.field(default_factory=dict)  # of its labels, percent: base, target, ...
    mean_reliability: float | None = None  # of its labels, 0..1
    reasons: list[str] = msgspec.field(default_factory=list)


class SampleCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Where every sample went."""

    read: int
    labelled: int
    trained: int
    skipped: dict[str, int] = msgspec.field(default_factory=dict)  # by reason
    queued: int = 0  # labelled, not yet trained
    dead: int = 0  # dead letters
    relabelled: int = 0  # times a sample went back to the labelers (each still counts once elsewhere)
    replayed: int = 0  # times a trained sample came back beside new ones (`trainer.replay_images`); in no other count

    @property
    def unaccounted(self) -> int:
        """Samples read that are neither trained, queued, skipped nor dead: 0 in a sound run."""
        return self.read - self.trained - self.queued - self.dead - sum(self.skipped.values())


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where it ran, in words that name no one."""

    system: str
    processor: str
    cpu_cores: int
    memory_gb: float | None  # None where the system does not tell
    accelerator: str = "none"


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run."""

    schema_version: int = SUMMARY_SCHEMA_VERSION
    name: str
    method: str
    seed: int
    units: dict[str, str] = msgspec.field(default_factory=lambda: dict(UNITS))
    models: dict[str, ModelScores]  # FIRST_TEACHER, FINAL_STUDENT, and any others
    promotions: list[PromotionRecord]
    seconds: dict[str, float]  # by stage, in the order they ran
    samples: SampleCounts
    notes: list[str] = msgspec.field(
        default_factory=list
    )  # what a reader must know, e.g. "too little data to be accurate"
    versions: dict[str, str] = msgspec.field(default_factory=dict)
    machine: Machine | None = None

    def gain(self, split: str, *, setting: str = "generalized", measure: str = "mask_ap50") -> float | None:
        """Return final student minus first teacher in points; None where either is not known."""
        before, after = (
            self.score(name, split, setting=setting, measure=measure) for name in (FIRST_TEACHER, FINAL_STUDENT)
        )
        return None if before is None or after is None else after - before

    def score(
        self, model: str, split: str, *, setting: str = "generalized", measure: str = "mask_ap50"
    ) -> float | None:
        """Return one figure of one model in percent; None where it is not known."""
        if model not in self.models:
            return None
        settings: Mapping[str, dict[str, SplitScores]] = {
            "constrained": self.models[model].constrained,
            "generalized": self.models[model].generalized,
        }
        scores = settings[setting].get(split)
        value: float | None = getattr(scores, measure) if scores is not None else None
        return value


def write_summary(summary: RunSummary, path: str | Path) -> Path:
    """Write `summary.json`, indented, in one step: a reader never sees half of it.

    Figures of single classes stay where they are, in the run folder's `evaluations/`.
    """
    models = {name: msgspec.structs.replace(scores, classes={}) for name, scores in summary.models.items()}
    summary = msgspec.structs.replace(summary, models=models)
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(target.name + ".partial")
    unfinished.write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")
    unfinished.replace(target)
    return target


def read_summary(path: str | Path) -> RunSummary:
    """Read a `summary.json`.

    Raises:
        DataError: the file is missing, is no summary, or is of a schema this version does not know.
    """
    try:
        summary = msgspec.json.decode(Path(path).read_bytes(), type=RunSummary)
    except OSError as error:
        raise DataError(f"cannot read summary {path}: {error.strerror or error}") from error
    except msgspec.DecodeError as error:  # ValidationError included
        raise DataError(f"{path} is not a run summary: {error}") from error
    if summary.schema_version > SUMMARY_SCHEMA_VERSION:
        raise DataError(
            f"{path} has schema {summary.schema_version}, this xpm-stream reads up to {SUMMARY_SCHEMA_VERSION}: "
            "read it with the version that wrote it"
        )
    return summary


def describe_versions() -> dict[str, str]:
    """Return the versions of Python and of the installed distributions that matter, without importing them."""
    versions = {"python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def describe_machine(*, accelerator: str = "none") -> Machine:
    """Return what the operating system says of this machine; the caller, who has torch, names the accelerator."""
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        processor=_processor_name(),
        cpu_cores=_usable_cores(),
        memory_gb=_memory_gb(),
        accelerator=accelerator,
    )


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_gb() -> float | None:
    if "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1)


def _processor_name() -> str:
    cpu_table = Path("/proc/cpuinfo")  # Linux; elsewhere platform knows
    if cpu_table.is_file():
        for line in cpu_table.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
