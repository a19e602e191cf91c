"""COCO JSON as it is on disk: instance annotations and captions, typed and checked for what points nowhere."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from xpm_stream.data.class_names import plain_class_names
from xpm_stream.data.storage import MAX_ANNOTATIONS_BYTES, read_bytes
from xpm_stream.errors import BaseSetError, DataError

_T = TypeVar("_T")


class CocoImage(msgspec.Struct, frozen=True, gc=False):
    """One image of a COCO file; LVIS names the file by its URL alone."""

    id: int
    file_name: str = ""
    coco_url: str = ""
    width: int = 0
    height: int = 0

    @property
    def name(self) -> str:
        """Path of the file inside the images folder."""
        return self.file_name or self.coco_url.rsplit("/", 1)[-1]

    @property
    def folder(self) -> str:
        """Where only the URL names the file: the folder it is in there, e.g. `val2017`; else empty."""
        return "" if self.file_name else self.coco_url.rpartition("/")[0].rpartition("/")[2]

    @property
    def name_in_folder(self) -> str:
        """Path of the file beside COCO's other folders of images."""
        return f"{self.folder}/{self.name}" if self.folder else self.name


class CocoCategory(msgspec.Struct, frozen=True, gc=False):
    """One category; LVIS says how many images of its training set have it."""

    id: int
    name: str
    frequency: str = ""  # LVIS: r (1 to 10 images), c (11 to 100), f (more)


class CocoInstance(msgspec.Struct, frozen=True):
    """One object; its segmentation stays JSON until it is needed, which is the most compact form it has."""

    id: int
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]  # x, y, width, height in pixels
    segmentation: msgspec.Raw
    iscrowd: int = 0


class CocoInstances(msgspec.Struct, frozen=True):
    """A COCO (or LVIS) instance file."""

    images: list[CocoImage]
    annotations: list[CocoInstance]
    categories: list[CocoCategory]


class CocoCaption(msgspec.Struct, frozen=True, gc=False):
    """One caption of an image."""

    id: int
    image_id: int
    caption: str


class CocoCaptions(msgspec.Struct, frozen=True):
    """A COCO captions file."""

    images: list[CocoImage]
    annotations: list[CocoCaption]


def read_instances(url: str) -> CocoInstances:
    """Read and check a COCO or LVIS instance JSON from any fsspec URL; LVIS's names become plain words.

    Raises:
        BaseSetError: the file cannot be read or is not COCO instance JSON, an image has no size, an id is there twice,
            or an annotation points to an image or category that is not there.
    """
    content = read_bytes(url, what="instance annotations", max_bytes=MAX_ANNOTATIONS_BYTES, error_class=BaseSetError)
    try:
        parsed = msgspec.json.decode(content, type=CocoInstances)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BaseSetError(f"{url} is not COCO instance JSON: {error}") from error
    parsed = msgspec.structs.replace(parsed, categories=_named(parsed.categories))
    _refuse_twice((image.id for image in parsed.images), f"{url}: image id")
    _refuse_twice((category.id for category in parsed.categories), f"{url}: category id")
    _refuse_twice((category.name for category in parsed.categories), f"{url}: category name")
    _refuse_twice((annotation.id for annotation in parsed.annotations), f"{url}: annotation id")
    images = {image.id for image in parsed.images}
    categories = {category.id for category in parsed.categories}
    for image in parsed.images:
        if image.width < 1 or image.height < 1:
            raise BaseSetError(f"{url}: image {image.id} ({image.name}) has no 'width' and 'height' in pixels")
    for annotation in parsed.annotations:
        where = f"{url}: annotation {annotation.id}"
        if annotation.image_id not in images:
            raise BaseSetError(f"{where} is of image {annotation.image_id}, which is not in 'images'")
        if annotation.category_id not in categories:
            raise BaseSetError(f"{where} is of category {annotation.category_id}, which is not in 'categories'")
    return parsed


def _named(categories: list[CocoCategory]) -> list[CocoCategory]:
    if not any(category.frequency for category in categories):
        return categories
    names = plain_class_names([category.name for category in categories])
    return [msgspec.structs.replace(one, name=name) for one, name in zip(categories, names, strict=True)]


def read_captions(url: str) -> CocoCaptions:
    """Read and check a COCO captions JSON from any fsspec URL.

    Raises:
        DataError: the file cannot be read or is not COCO captions JSON, an image id is there twice, or a caption is of
            an image that is not there.
    """
    content = read_bytes(url, what="captions file", max_bytes=MAX_ANNOTATIONS_BYTES)
    try:
        parsed = msgspec.json.decode(content, type=CocoCaptions)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{url} is not COCO captions JSON: {error}") from error
    images = {image.id for image in parsed.images}
    if len(images) != len(parsed.images):
        raise DataError(f"{url}: {len(parsed.images) - len(images)} image ids are there twice")
    for caption in parsed.annotations:
        if caption.image_id not in images:
            raise DataError(f"{url}: caption {caption.id} is of image {caption.image_id}, which is not in 'images'")
    return parsed


def check_segmentation(instance: CocoInstance, *, height: int, width: int, source: str) -> None:
    """Check that an instance's polygons or RLE are what pycocotools takes, which itself does not look.

    Raises:
        BaseSetError: a polygon with an odd number of coordinates, fewer than three points or a number that is not
            finite; an RLE that is damaged or of another size than the image; neither polygons nor RLE.
    """
    where = f"{source}: annotation {instance.id} (image {instance.image_id})"
    segmentation = msgspec.json.decode(instance.segmentation)
    if isinstance(segmentation, list) and segmentation:
        for polygon in segmentation:
            _check_polygon(polygon, where)
    elif isinstance(segmentation, dict) and isinstance(segmentation.get("counts"), str | list):
        size = segmentation.get("size")
        if size != [height, width]:
            raise BaseSetError(f"{where}: its RLE is of size {size}, its image is {height} x {width} (height x width)")
        _check_counts(segmentation["counts"], height * width, where)
    else:
        raise BaseSetError(f"{where}: its segmentation is neither polygons nor RLE, but {str(segmentation)[:80]}")


def _check_polygon(polygon: Any, where: str) -> None:
    if not isinstance(polygon, list) or not all(isinstance(value, int | float) for value in polygon):
        raise BaseSetError(f"{where}: a polygon must be a list of numbers x, y, x, y, ..., not {str(polygon)[:80]}")
    if len(polygon) < 6 or len(polygon) % 2:
        raise BaseSetError(f"{where}: a polygon has {len(polygon)} numbers; it needs an even number, at least 6")
    if not all(map(math.isfinite, polygon)):
        raise BaseSetError(f"{where}: a polygon has a coordinate that is not a finite number")


def _check_counts(counts: str | list[Any], pixels: int, where: str) -> None:
    if isinstance(counts, str):
        runs = _decode_counts(counts, where)
    elif all(type(run) is int and 0 <= run <= pixels for run in counts):
        runs = np.asarray(counts, dtype=np.int64)
    else:
        runs = np.asarray([-1])
    if (runs < 0).any():
        raise BaseSetError(f"{where}: the runs of its RLE must be whole numbers from 0, not {str(counts)[:80]}")
    if int(runs.sum()) != pixels:
        raise BaseSetError(f"{where}: its RLE covers {int(runs.sum())} pixels, its image has {pixels}")


def _decode_counts(counts: str, where: str) -> npt.NDArray[np.int64]:
    """Return the run lengths of a compressed COCO RLE: five bits a character, differences from the run two before."""
    codes = np.frombuffer(counts.encode("utf-8"), dtype=np.uint8).astype(np.int64) - 48
    if not codes.size or codes.min() < 0 or codes.max() > 63:
        raise BaseSetError(f"{where}: its compressed RLE {counts[:40]!r} has characters that none has")
    ends = np.flatnonzero((codes & 0x20) == 0)  # the sixth bit says that a number goes on
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if not ends.size or ends[-1] != codes.size - 1 or lengths.max() > 12:
        raise BaseSetError(f"{where}: its compressed RLE ends in the middle of a number")
    places = np.arange(codes.size) - np.repeat(starts, lengths)
    values = np.add.reduceat((codes & 0x1F) << (5 * places), starts)
    values -= np.where(codes[ends] & 0x10, np.int64(1) << (5 * lengths), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def _refuse_twice(values: Iterable[_T], what: str) -> None:
    counted = Counter(values)
    twice = list(itertools.islice((value for value, count in counted.items() if count > 1), 3))
    if twice:
        raise BaseSetError(f"{what} {', '.join(repr(value) for value in twice)} is there more than once")
