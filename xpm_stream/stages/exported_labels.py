"""Labels as others read them: instances with masks in image pixels, and where they come from. No torch."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from xpm_stream.data.coco_instances import InstanceFields, instance_fields
from xpm_stream.errors import SampleError
from xpm_stream.records import Finding, LabelMessage
from xpm_stream.registry.store import without_credentials

_SHOWN_PROBLEMS: Final = 20
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledSample:
    """A label with all that its message only refers to."""

    message: LabelMessage
    image: bytes = field(repr=False)  # the encoded file
    captions: list[str]  # one line each; empty where only the label is known
    shard_url: str
    checkpoint: str | None  # of the teacher; none: the log does not know it any more
    revoked: bool = False  # its teacher is: a run would not train on it


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedSample:
    """A sample as it is written; what is JSON here is so in the output."""

    key: str  # unique in the export
    folder: str  # of its image: its shard's
    extension: str  # of the encoded image
    image: bytes = field(repr=False)
    width: int
    height: int
    captions: list[str]
    facts: dict[str, Any]  # `words`, `method`, `teacher`, `sample`
    instances: list[tuple[str, InstanceFields]]  # each with its word


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFilter:
    """Which instances are wanted."""

    min_score: float | None = None
    min_reliability: float | None = None
    words: frozenset[str] | None = None

    def refuses(self, instance: Finding) -> str | None:
        """Return why an instance is left out; none: it is wanted."""
        if self.words is not None and instance.word not in self.words:
            return "other_word"
        if self.min_score is not None and instance.score < self.min_score:
            return "below_min_score"
        if self.min_reliability is not None:
            if instance.reliability is None:
                return "without_reliability"
            if instance.reliability < self.min_reliability:
                return "below_min_reliability"
        return None


@dataclass(slots=True)
class ExportTally:
    """What became of everything that was looked at."""

    samples: int = 0  # exported
    instances: int = 0  # exported
    words: set[str] = field(default_factory=set)  # exported
    teachers: Counter[str] = field(default_factory=Counter)  # of the exported samples
    left_out: Counter[str] = field(default_factory=Counter)  # samples by reason
    instances_left_out: Counter[str] = field(default_factory=Counter)  # by reason
    shards: int = 0  # read, also those in part
    problems: list[str] = field(default_factory=list)  # the first of what went wrong with whole shards
    num_problems: int = 0
    notes: list[str] = field(default_factory=list)  # what else a person should know of what was exported

    def note_problem(self, what: str) -> None:
        """Take note of a shard that could not be read, or only in part."""
        self.num_problems += 1
        if len(self.problems) < _SHOWN_PROBLEMS:
            self.problems.append(what)


def exported(labels: Iterable[LabelledSample], *, chosen: LabelFilter, tally: ExportTally) -> Iterator[ExportedSample]:
    """Yield the samples that have a wanted instance; count all others by reason."""
    for label in labels:
        message = label.message
        try:
            extension = image_extension(label.image)
        except SampleError as error:
            tally.left_out[error.reason] += 1
            continue
        instances = _wanted(message, chosen, tally)
        if not instances:
            tally.left_out["nothing_wanted" if message.findings() else "nothing_found"] += 1
            continue
        tally.samples += 1
        tally.instances += len(instances)
        tally.words.update(word for word, _ in instances)
        tally.teachers[_shown_teacher(label)] += 1
        yield _as_exported(label, instances, extension=extension)


def image_extension(data: bytes) -> str:
    """Return what a file of these bytes is called: jpg, png or webp.

    Raises:
        SampleError: it is none of these.
    """
    if data.startswith(b"\xff\xd8"):
        return "jpg"
    if data.startswith(b"\x89PNG"):
        return "png"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "webp"
    raise SampleError("the image is neither JPEG nor PNG nor WebP", reason="image_broken")


def _wanted(message: LabelMessage, chosen: LabelFilter, tally: ExportTally) -> list[tuple[str, InstanceFields]]:
    findings = message.findings()
    refusals = [chosen.refuses(finding) for finding in findings]
    kept = [place for place, refused in enumerate(refusals) if refused is None]
    tally.instances_left_out.update(refused for refused in refusals if refused is not None)
    fields = list(instance_fields(message.annotation, kept, image_size_wh=message.image_size_wh))
    tally.instances_left_out.update("empty_mask" for one in fields if one is None)
    return [(findings[place].word, one) for place, one in zip(kept, fields, strict=True) if one is not None]


def _as_exported(
    label: LabelledSample, instances: list[tuple[str, InstanceFields]], *, extension: str
) -> ExportedSample:
    message = label.message
    sample, teacher = message.sample, message.teacher
    shard = _NOT_IN_NAMES.sub("_", sample.shard_id)[:128]  # a label on the queue may say anything
    further = f"-pass{sample.pass_index}" if sample.pass_index else ""
    facts = {
        "words": message.words,
        "method": message.method,
        "teacher": {
            "promotion": teacher.promotion or None,  # none: it never was promoted
            "checkpoint": label.checkpoint,
            "epoch": teacher.epoch,
            "step": teacher.step,
            "revoked": label.revoked,
        },
        "sample": {
            "pass": sample.pass_index,
            "shard_id": sample.shard_id,
            "ordinal": sample.ordinal,
            "shard": without_credentials(label.shard_url),
            "key": message.key,
        },
    }
    width, height = message.image_size_wh
    return ExportedSample(
        key=f"{shard}-{sample.ordinal:06d}{further}",
        folder=shard,
        extension=extension,
        image=label.image,
        width=width,
        height=height,
        captions=label.captions,
        facts=facts,
        instances=instances,
    )


def _shown_teacher(label: LabelledSample) -> str:
    promotion = label.message.teacher.promotion
    number = f"v{promotion}" if promotion else "never promoted"
    number += ", revoked" if label.revoked else ""
    return f"{label.checkpoint or 'unknown checkpoint'} ({number})"
