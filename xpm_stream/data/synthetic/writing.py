"""Writing a whole corpus to disk, drawn in this process or by several, the same bytes either way."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from xpm_stream.data.shard_writing import CaptionSample, write_caption_shards
from xpm_stream.data.synthetic.catalog import ClassSplit, split_classes
from xpm_stream.data.synthetic.corpus_config import SyntheticConfig, preset_config
from xpm_stream.data.synthetic.corpus_paths import CORPUS_FILE, CorpusPaths, describe, read_description
from xpm_stream.data.synthetic.samples import DrawnSample, Part, draw_samples
from xpm_stream.data.synthetic.truth import TRUTH_FIELD, TrueInstance, TrueMask, TrueMention, Truth
from xpm_stream.errors import DataError

Progress = Callable[[int, int], None]  # (images written, images in all)
_TASK_IMAGES: Final = 25  # large enough that sending a task costs nothing beside drawing it


def write_corpus(
    output_folder: str | Path,
    *,
    preset: str | SyntheticConfig = "quickstart",
    seed: int = 0,
    workers: int = 0,
    progress: Progress | None = None,
) -> CorpusPaths:
    """Write a corpus, or find it written: the same configuration and seed give the same bytes on any machine.

    Args:
        output_folder: a folder of this machine; made where missing.
        preset: `tiny`, `quickstart`, `full`, or a configuration of your own.
        seed: of everything that is drawn and said.
        workers: further processes to draw with; 0 draws in this one.
        progress: called with (images done, images in all) after every few images.

    Raises:
        ConfigError: no such preset, or more classes than the catalog has.
        DataError: the folder holds another corpus, or other files.
    """
    config = preset_config(preset)
    folder = Path(output_folder)
    split = split_classes(config)
    description = describe(config, seed=seed, words=split.as_json())
    paths = CorpusPaths.of(folder, words=split.as_json())
    if not _needs_writing(folder, description):
        return paths
    for path in (paths.base_annotations.parent, paths.base_images, paths.val_images):
        path.mkdir(parents=True, exist_ok=True)
    _write_json(paths.split, {"base": list(split.base), "target": list(split.target)})
    with ExitStack() as stack:
        draw = _Drawing(config, seed=seed, workers=workers, progress=progress, stack=stack)
        _write_coco(
            draw,
            part="base_train",
            split=split,
            annotated=split.base,
            images=paths.base_images,
            annotations=paths.base_annotations,
        )
        _write_coco(
            draw,
            part="val",
            split=split,
            annotated=(*split.base, *split.target),
            images=paths.val_images,
            annotations=paths.val_annotations,
        )
        write_caption_shards(
            (_caption_sample(sample) for sample in draw.samples("captions")),
            folder / "captions",
            samples_per_shard=config.images_per_shard,
            overwrite=True,
        )
    _write_json(folder / CORPUS_FILE, description)
    return paths


class _Drawing:
    """Samples in order, from this process or a pool."""

    def __init__(
        self, config: SyntheticConfig, *, seed: int, workers: int, progress: Progress | None, stack: ExitStack
    ) -> None:
        self._config = config
        self._seed = seed
        self._progress = progress
        self._number: dict[Part, int] = {
            "base_train": config.base_images,
            "val": config.val_images,
            "captions": config.caption_images,
        }
        self._done = 0
        self._pool: ProcessPoolExecutor | None = None
        if workers > 0:
            # Spawned, not forked: the caller may hold threads (torch, Redis) that a fork would freeze.
            context = multiprocessing.get_context("spawn")
            self._pool = stack.enter_context(ProcessPoolExecutor(workers, mp_context=context))

    def samples(self, part: Part) -> Iterator[DrawnSample]:
        number = self._number[part]
        tasks = [range(start, min(start + _TASK_IMAGES, number)) for start in range(0, number, _TASK_IMAGES)]
        draw = partial(_draw_task, self._config, self._seed, part)
        for samples in map(draw, tasks) if self._pool is None else self._pool.map(draw, tasks):
            yield from samples
            self._done += len(samples)
            if self._progress is not None:
                self._progress(self._done, sum(self._number.values()))


def _draw_task(config: SyntheticConfig, seed: int, part: Part, indices: range) -> list[DrawnSample]:
    return draw_samples(config, seed=seed, part=part, indices=indices)


def _needs_writing(folder: Path, description: dict[str, Any]) -> bool:
    """Whether the corpus has yet to be written; an unfinished one of ours is written again.

    Raises:
        DataError: the folder holds another corpus, or files that are no corpus.
    """
    existing = read_description(folder)
    if existing == description:
        return False
    if existing is not None:
        differing = _differences(existing, description)
        raise DataError(f"{folder} holds another synthetic corpus ({differing}); choose another folder or delete it")
    known = {"annotations", "base_train", "val", "captions", "split.json"}
    if folder.is_dir():
        strangers = sorted(path.name for path in folder.iterdir() if path.name not in known)
        if strangers:
            raise DataError(f"{folder} is not empty ({strangers[0]}); choose an empty folder for the corpus")
        for path in (folder / "base_train", folder / "val"):
            if path.is_dir():
                shutil.rmtree(path)
    return True


def _differences(existing: dict[str, Any], wanted: dict[str, Any]) -> str:
    flat = [{**d.get("config", {}), **{k: v for k, v in d.items() if k != "config"}} for d in (existing, wanted)]
    names = [name for name in flat[1] if flat[0].get(name) != flat[1][name]]
    return ", ".join(f"{name}: {flat[0].get(name)!r} there, {flat[1][name]!r} asked for" for name in names[:3])


def _write_coco(
    draw: _Drawing,
    *,
    part: Part,
    split: ClassSplit,
    annotated: tuple[str, ...],
    images: Path,
    annotations: Path,
) -> None:
    """Write one COCO instance set: every category of the split, annotations of the annotated classes only."""
    category_ids = {word: number for number, word in enumerate((*split.base, *split.target), start=1)}
    image_rows: list[dict[str, Any]] = []
    annotation_rows: list[dict[str, Any]] = []
    for sample in draw.samples(part):
        image_id = sample.index + 1
        name = f"{image_id:012d}.jpg"
        (images / name).write_bytes(sample.jpeg)
        width, height = sample.size_wh
        image_rows.append({"id": image_id, "file_name": name, "width": width, "height": height})
        for item in sample.instances:
            if item.word in annotated:
                x0, y0, x1, y1 = item.box_xyxy
                annotation_rows.append(
                    {
                        "id": len(annotation_rows) + 1,
                        "image_id": image_id,
                        "category_id": category_ids[item.word],
                        "bbox": [x0, y0, x1 - x0, y1 - y0],
                        "area": item.area,
                        "iscrowd": 0,
                        "segmentation": {"size": [height, width], "counts": item.counts},
                    }
                )
    categories = [{"id": number, "name": word} for word, number in category_ids.items()]
    _write_json(annotations, {"images": image_rows, "annotations": annotation_rows, "categories": categories})


def _caption_sample(sample: DrawnSample) -> CaptionSample:
    width, height = sample.size_wh
    return CaptionSample(
        key=f"{sample.index:09d}",
        image=sample.jpeg,
        image_extension="jpg",
        captions=[caption.text for caption in sample.captions],
        metadata={"width": width, "height": height, TRUTH_FIELD: msgspec.to_builtins(_truth(sample))},
    )


def _truth(sample: DrawnSample) -> Truth:
    width, height = sample.size_wh
    return Truth(
        instances=[
            TrueInstance(
                word=item.word,
                box_xyxy=item.box_xyxy,
                segmentation=TrueMask(size=(height, width), counts=item.counts),
            )
            for item in sample.instances
        ],
        mentions=[
            [TrueMention(word=m.word, said=m.said, count=m.count, right=m.right) for m in caption.mentions]
            for caption in sample.captions
        ],
    )


def _write_json(path: Path, content: dict[str, Any]) -> None:
    partial_path = path.with_name(path.name + ".partial")
    partial_path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    partial_path.replace(path)
