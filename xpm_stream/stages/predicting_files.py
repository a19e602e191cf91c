"""Predictions for files, folders and globs: a picture for each image, and one COCO JSON for all."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from fsspec import AbstractFileSystem

from xpm_stream.data.storage import explain, is_local, locate, transport_errors
from xpm_stream.errors import DataError
from xpm_stream.stages.given_images import GivenImage, name_of
from xpm_stream.stages.predicting import Predictor
from xpm_stream.stages.predictions import Predictions

COCO_FILE: Final = "predictions.json"
_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"})
_PICTURE_QUALITY: Final = 92


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedFiles:
    """What became of the images."""

    folder: Path
    images: int  # predicted
    objects: dict[str, int]  # by word, most frequent first
    broken: list[str]  # why each image that cannot be used cannot
    rated: bool  # whether what was found has a reliability


def find_images(sources: Iterable[str]) -> list[str]:
    """Return the images that paths, folders (with those below), globs and URLs name, each once.

    Raises:
        DataError: one of them names nothing, or cannot be looked at.
    """
    found: dict[str, None] = {}
    for source in sources:
        filesystem, path = locate(source)
        try:
            names = _look(filesystem, path, source)
        except transport_errors() as error:
            raise DataError(f"cannot look at {source}: {explain(error)}") from error
        if not names:
            raise DataError(f"{source} names no image ({', '.join(sorted(_SUFFIXES))})")
        found.update(dict.fromkeys(names))
    return list(found)


def predict_files(
    model: Predictor,
    images: Sequence[str],
    words: Sequence[str],
    *,
    out: Path,
    score_threshold: float,
    max_detections: int | None = None,
    batch_images: int | None = None,
    pictures: bool = True,
    on_progress: Callable[[int], None] = lambda _done: None,
) -> PredictedFiles:
    """Predict for every image that can be read; write `predictions.json` and a picture of each image into `out`.

    An image that cannot be read is among `broken`, and costs the others nothing.

    Raises:
        DataError: `out` cannot be written or holds one of the images, or words or limits are none.
        TextError: a word means nothing to the text encoder, or needs one that is not here.
    """
    if pictures:
        _refuse_own_images(images, out)
    _make_folder(out)
    broken: list[str] = []

    def note(_image: GivenImage, error: DataError) -> None:
        broken.append(str(error))
        on_progress(len(broken) + len(predictions))

    predictions = Predictions()
    names = _picture_names(images)
    found = model.predict_each(
        images,
        words,
        score_threshold=score_threshold,
        max_detections=max_detections,
        batch_images=batch_images,
        on_error=note,
    )
    for one in found:
        if pictures:
            one.draw().save(out / names[str(one.name)], quality=_PICTURE_QUALITY)
        predictions.append(one)
        on_progress(len(broken) + len(predictions))
    (out / COCO_FILE).write_text(json.dumps(predictions.to_coco_dataset()), encoding="utf-8")
    counts = Counter(word for one in predictions for word in one.words)
    return PredictedFiles(
        folder=out,
        images=len(predictions),
        objects=dict(counts.most_common()),
        broken=broken,
        rated=all(one.reliability is not None for one in predictions),
    )


def _look(filesystem: AbstractFileSystem, path: str, source: str) -> list[str]:
    protocol = filesystem.protocol
    if "http" in ((protocol,) if isinstance(protocol, str) else protocol):
        return [source]  # a page that lists images is not a folder
    if filesystem.isdir(path):
        paths = [one for one in filesystem.find(path) if _is_image(one)]
    elif any(sign in source for sign in "*?[") and not filesystem.exists(path):
        paths = [one for one in filesystem.glob(path) if _is_image(one)]
    else:
        return [source]  # it is said to be an image: opening it tells
    local = is_local(filesystem)
    return [str(one) if local else str(filesystem.unstrip_protocol(one)) for one in sorted(paths)]


def _is_image(path: str) -> bool:
    return PurePosixPath(path).suffix.lower() in _SUFFIXES


def _picture_names(images: Sequence[str]) -> dict[str, str]:
    """A picture's name for each image: its own, numbered where several share it."""
    used: Counter[str] = Counter()
    taken: set[str] = set()
    names = {}
    for image in images:
        stem = name = PurePosixPath(name_of(image) or "image").stem or "image"
        while name.casefold() in taken:  # some file systems take A.jpg for a.jpg; and there may be an a-2.png
            used[stem.casefold()] += 1
            name = f"{stem}-{used[stem.casefold()] + 1}"
        taken.add(name.casefold())
        names[image] = f"{name}.jpg"
    return names


def _refuse_own_images(images: Sequence[str], out: Path) -> None:
    """A picture must not be written over an image, nor be taken for one the next time."""
    folder = out.resolve()
    for image in images:
        filesystem, path = locate(image)
        if is_local(filesystem) and Path(path).resolve().parent == folder:
            raise DataError(f"{image} lies in {out}, where pictures are to be written: choose another folder for them")


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot make the folder {out}: {error.strerror or error}") from error
