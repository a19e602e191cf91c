"""Pseudo labels as files that others train on: COCO JSON with its images, or WebDataset shards."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from xpm_stream.config import RunConfig, config_of_run, load_config
from xpm_stream.data.coco_writing import CocoWriter
from xpm_stream.data.shard_urls import expand_shard_urls
from xpm_stream.data.shard_writing import CaptionSample, write_caption_shards
from xpm_stream.data.whole_folders import whole_folder
from xpm_stream.errors import ConfigError, DataError
from xpm_stream.registry.checkpoint_folder import CHAMPION
from xpm_stream.stages.exported_labels import ExportedSample, ExportTally, LabelFilter, LabelledSample, exported
from xpm_stream.version import __version__

ANNOTATIONS: Final = "annotations.json"
IMAGES: Final = "images"
SPLIT: Final = "split.json"
SAMPLES_PER_SHARD: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """What is wanted, and where it goes."""

    run: str  # run folder or configuration; for labels made again also a registry's URL or a checkpoint's
    coco: Path | None = None
    webdataset: Path | None = None
    teacher: str = CHAMPION
    shards: tuple[str, ...] = ()  # patterns; none: all that the run knows
    waiting: bool = False  # the labels that wait on the queue, instead of labels made again
    chosen: LabelFilter = field(default_factory=LabelFilter)
    limit: int | None = None  # samples
    samples_per_shard: int = SAMPLES_PER_SHARD

    @property
    def outputs(self) -> list[Path]:
        """The folders to write."""
        return [folder for folder in (self.coco, self.webdataset) if folder is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportProgress:
    """How far an export is."""

    done: int  # of `total`
    total: int  # shards, or labels that wait
    samples: int  # exported so far


OnProgress = Callable[[ExportProgress], None]


class NothingExported(DataError):
    """No sample was left to export."""

    def __init__(self, tally: ExportTally) -> None:
        super().__init__("nothing to export: no sample has an instance that is wanted; nothing was written")
        self.tally = tally


def export_labels(request: ExportRequest, *, on_progress: OnProgress = lambda _: None) -> ExportTally:
    """Write labels; the outputs appear at the end, whole, or not at all. Memory does not grow with the samples.

    Raises:
        ConfigError: the request makes no sense, or an output exists.
        NothingExported: no sample is left to export.
        RegistryError: there is no such teacher.
        ShardError: a pattern names no shard.
        QueueError: the labels that wait cannot be read.
        DataError: an output cannot be written, as on a full disk.
    """
    _check_outputs(request)
    tally = ExportTally()
    try:
        _export(request, tally, on_progress)
    except OSError as error:
        if error.filename is not None:
            raise
        folders = " and ".join(str(folder) for folder in request.outputs)
        raise DataError(f"cannot write {folders}: {error.strerror or error}; nothing was written") from error
    return tally


def _check_outputs(request: ExportRequest) -> None:
    if not request.outputs:
        raise ConfigError("say what to write: --coco FOLDER, --webdataset FOLDER, or both")
    if request.coco and request.webdataset:
        coco, shards = request.coco.resolve(), request.webdataset.resolve()
        if coco.is_relative_to(shards) or shards.is_relative_to(coco):
            raise ConfigError(
                f"--coco {request.coco} and --webdataset {request.webdataset} must lie side by side, "
                "not one in the other: each appears when it is whole"
            )


def _export(request: ExportRequest, tally: ExportTally, on_progress: OnProgress) -> None:
    with ExitStack() as outputs:
        coco_folder = outputs.enter_context(whole_folder(request.coco)) if request.coco else None
        shard_folder = outputs.enter_context(whole_folder(request.webdataset)) if request.webdataset else None
        coco = outputs.enter_context(CocoWriter(coco_folder)) if coco_folder else None
        with closing(_labels(request, tally, on_progress)) as labels:
            samples: Iterable[ExportedSample] = _first(exported(labels, chosen=request.chosen, tally=tally), request)
            if coco and coco_folder:
                samples = _written_as_coco(samples, coco, coco_folder / IMAGES)
            if shard_folder:
                write_caption_shards(
                    map(_caption_sample, samples), shard_folder, samples_per_shard=request.samples_per_shard
                )
            else:
                deque(samples, maxlen=0)
        if missing := sorted((request.chosen.words or frozenset()) - tally.words):
            tally.notes.append(f"nothing was exported of: {', '.join(missing)}")
        if not tally.samples:
            raise NothingExported(tally)
        if coco and coco_folder:
            coco.write(coco_folder / ANNOTATIONS, info=_info(request, tally))
            (coco_folder / SPLIT).write_text(
                json.dumps({"base": coco.category_names, "target": []}, ensure_ascii=False), encoding="utf-8"
            )


def _labels(request: ExportRequest, tally: ExportTally, on_progress: OnProgress) -> Generator[LabelledSample]:
    """Yield the labels; what is wrong with the request is raised at the first step."""

    def report(done: int, total: int) -> None:
        on_progress(ExportProgress(done=done, total=total, samples=tally.samples))

    config = _run_config(request.run)
    if request.waiting:
        from xpm_stream.stages.waiting_labels import waiting_labels

        if config is None:
            raise ConfigError(f"--waiting needs the queue of a run: {request.run} is no run folder")
        if request.teacher != CHAMPION or request.shards:
            raise ConfigError("--waiting takes all labels on the queue as they are: leave out --teacher and --shards")
        yield from waiting_labels(config, need_captions=request.webdataset is not None, tally=tally, on_label=report)
        return
    from xpm_stream.stages.fixed_teacher import FixedTeacher, read_teacher
    from xpm_stream.stages.labels_made_again import labels_made_again
    from xpm_stream.stages.run_shards import shards_of_run

    if request.shards:
        shards = expand_shard_urls(request.shards)
    elif config is None:
        raise ConfigError(f"say what to label: --shards PATTERN ({request.run} is no run, so it names no shards)")
    else:
        shards = shards_of_run(config, tally)
    if not shards:
        raise ConfigError(f"say what to label: --shards PATTERN (the run {request.run} has no shards)")
    teacher = FixedTeacher(read_teacher(request.run, request.teacher), like=config)
    yield from labels_made_again(teacher, shards, tally=tally, on_batch=lambda done: report(done, len(shards)))


def _run_config(run: str) -> RunConfig | None:
    path = Path(run)
    if path.is_file():
        return load_config(path)
    return config_of_run(path) if (path / "config.yaml").is_file() else None


def _first(samples: Iterator[ExportedSample], request: ExportRequest) -> Iterator[ExportedSample]:
    for count, sample in enumerate(samples, start=1):
        yield sample
        if count == request.limit:
            return


def _written_as_coco(samples: Iterable[ExportedSample], coco: CocoWriter, images: Path) -> Iterator[ExportedSample]:
    for sample in samples:
        name = f"{sample.folder}/{sample.key}.{sample.extension}"
        (images / sample.folder).mkdir(parents=True, exist_ok=True)
        (images / name).write_bytes(sample.image)
        size = {"file_name": name, "width": sample.width, "height": sample.height}
        teacher = {"iscrowd": 0, "teacher": sample.facts["teacher"]}
        coco.add(
            size | {"captions": sample.captions} | sample.facts,
            [(word, {**fields, **teacher}) for word, fields in sample.instances],
        )
        yield sample


def _caption_sample(sample: ExportedSample) -> CaptionSample:
    """The form of Segment Anything's shards: KEY.json beside KEY.jpg, with `image` and `annotations` in COCO RLE."""
    size = {"file_name": f"{sample.key}.{sample.extension}", "width": sample.width, "height": sample.height}
    annotations = [{"id": place, "word": word, **fields} for place, (word, fields) in enumerate(sample.instances, 1)]
    return CaptionSample(
        key=sample.key,
        image=sample.image,
        image_extension=sample.extension,
        captions=sample.captions,
        metadata={"image": size, "annotations": annotations, **sample.facts},
    )


def _info(request: ExportRequest, tally: ExportTally) -> dict[str, Any]:
    chosen = request.chosen
    return {
        "description": "pseudo labels: made by a teacher network, not by people",
        "version": __version__,
        "contributor": "xpm-stream labels export",
        "date_created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "made": "waited on the queue" if request.waiting else "made again by the teacher",
        "teachers": dict(tally.teachers),
        "min_score": chosen.min_score,
        "min_reliability": chosen.min_reliability,
        "words": sorted(chosen.words) if chosen.words is not None else None,
        "samples_left_out": dict(tally.left_out),
        "instances_left_out": dict(tally.instances_left_out),
    }
