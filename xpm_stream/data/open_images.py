"""Open Images' masks (tables and PNG files) written once as an instance JSON, which the rest reads like COCO's.

Beside COCO's fields an image has `pos_category_ids` and `neg_category_ids` (what people verified), and an annotation
may be `is_group_of` or `is_box_only`: GroupOf boxes, and boxes nobody drew a mask for. Both are `iscrowd`, so that they
teach nothing; the evaluation knows their rules (docs/evaluation.md).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from xpm_stream.data.open_images_files import (
    DESCRIPTION,
    Box,
    Hierarchy,
    read_boxes,
    read_class_names,
    read_hierarchy,
    read_image_labels,
    read_masks,
)
from xpm_stream.data.open_images_masks import BROKEN_IMAGE, decoded_masks
from xpm_stream.data.storage import is_gone, locate, transport_errors
from xpm_stream.data.whole_folders import require_local
from xpm_stream.errors import BaseSetError
from xpm_stream.masks import CocoRle, rle_area

_SAME_BOX_IOU: Final = 0.9  # of a box and the box of its mask; the tables round differently


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenImagesSources:
    """Where the downloaded files are (fsspec URLs)."""

    masks: str  # table of masks
    mask_files: str  # folder of the PNG files, all in it or in a folder for each first character
    images: str  # folder of IMAGE.jpg
    class_names: str
    boxes: str | None = None  # needed for GroupOf boxes
    image_labels: str | None = None  # needed for what is verified absent
    hierarchy: str | None = None  # expand labels by it (evaluation)


@dataclass(slots=True)
class OpenImagesSummary:
    """What was written and what was left out."""

    images: int = 0
    masks: int = 0
    groups: int = 0
    boxes_without_mask: int = 0
    left_out: Counter[str] = field(default_factory=Counter)  # by reason
    first_left_out: dict[str, str] = field(default_factory=dict)  # where, of the reasons that are faults of the files

    def __str__(self) -> str:
        shown = {reason: f" (first: {where})" for reason, where in self.first_left_out.items()}
        left_out = ", ".join(f"{count:,} {reason}{shown.get(reason, '')}" for reason, count in self.left_out.items())
        return (
            f"{self.images:,} images, {self.masks:,} masks, {self.groups:,} GroupOf boxes, "
            f"{self.boxes_without_mask:,} boxes without a mask; left out: {left_out or 'nothing'}"
        )


def write_open_images(
    sources: OpenImagesSources,
    output: Path,
    *,
    workers: int = 1,
    allow_missing_images: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> OpenImagesSummary:
    """Write the instance JSON of the classes that `class_names` lists; `on_progress` hears how many masks are read.

    Raises:
        BaseSetError: a file is missing or broken, nothing is left, or the output is a folder.
        ConfigError: the output is a URL.
    """
    require_local(output)
    if output.is_dir():
        raise BaseSetError(f"{output} is a folder: name the file to write, e.g. {output}/instances.json")
    output.parent.mkdir(parents=True, exist_ok=True)
    names = read_class_names(sources.class_names)
    category_ids = {label: place for place, label in enumerate(names, start=1)}
    hierarchy = read_hierarchy(sources.hierarchy) if sources.hierarchy else Hierarchy()
    summary = OpenImagesSummary()
    mask_boxes, labels = _survey(sources, names, hierarchy, summary)
    sizes = _image_sizes(sources.images, sorted({image for image, _ in mask_boxes} | set(labels)))
    missing = [image for image, size in sizes.items() if size is None]
    if missing and not allow_missing_images:
        raise BaseSetError(
            f"{len(missing)} of {len(sizes)} images are not in {sources.images} as IMAGE.jpg "
            f"(first: {missing[0]}.jpg); --allow-missing-images leaves them out"
        )
    if missing:
        summary.left_out["images without a file"] = len(missing)
        summary.first_left_out["images without a file"] = f"{missing[0]}.jpg"
    known = {image: size for image, size in sizes.items() if size is not None}
    image_ids = {image: place for place, image in enumerate(known, start=1)}
    if not known:
        raise BaseSetError(f"{sources.masks}: no image of {sources.images} has any of the {len(names)} classes")

    def expanded(image: str, label: str, one: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for kind in sorted(hierarchy.with_parents(label) & category_ids.keys()):
            yield {"image_id": image_ids[image], "category_id": category_ids[kind], **one}

    def annotations() -> Iterator[dict[str, Any]]:
        decoded = decoded_masks(
            sources.masks, sources.mask_files, sizes=known, labels=names, workers=workers, on_progress=on_progress
        )
        for row, rle in decoded:
            if isinstance(rle, str):
                summary.left_out[rle] += 1
                summary.first_left_out.setdefault(rle, f"{sources.masks}, line {row.line}, {row.path}")
                continue
            summary.masks += 1
            yield from expanded(row.image, row.label, _mask_annotation(row.box, known[row.image], rle))
        for image, label, box, is_group in _boxes_left(sources, known, names, mask_boxes):
            summary.groups += is_group
            summary.boxes_without_mask += not is_group
            yield from expanded(image, label, _box_annotation(box, known[image], is_group=is_group))

    images = (
        {"id": image_ids[image], "file_name": f"{image}.jpg", "width": width, "height": height}
        | {
            key: sorted(category_ids[label] for label in labels[image][is_there])
            for key, is_there in (("pos_category_ids", True), ("neg_category_ids", False))
        }
        for image, (width, height) in known.items()
    )
    categories = ({"id": category_ids[label], "name": name} for label, name in names.items())
    _write(output, categories=categories, images=images, annotations=annotations())
    summary.images = len(known)
    return summary


_Labels = Mapping[str, Mapping[bool, set[str]]]  # image -> is it there -> labels
_MaskBoxes = Mapping[tuple[str, str], list[Box]]  # (image, label) -> boxes of its masks


def _survey(
    sources: OpenImagesSources, names: Mapping[str, str], hierarchy: Hierarchy, summary: OpenImagesSummary
) -> tuple[_MaskBoxes, _Labels]:
    mask_boxes: dict[tuple[str, str], list[Box]] = defaultdict(list)
    for mask in read_masks(sources.masks):
        if mask.label in names:
            mask_boxes[mask.image, mask.label].append(mask.box)
        else:
            summary.left_out["masks of other classes"] += 1
    labels: dict[str, dict[bool, set[str]]] = defaultdict(lambda: {True: set(), False: set()})
    for row in read_image_labels(sources.image_labels) if sources.image_labels else ():
        around = hierarchy.with_parents(row.label) if row.is_there else hierarchy.with_children(row.label)
        if wanted := around & names.keys():
            labels[row.image][row.is_there].update(wanted)
    return mask_boxes, labels


def _image_sizes(folder: str, images: Iterable[str]) -> dict[str, tuple[int, int] | None]:
    """Return (width, height) of each image, None where there is no such file; only headers are read."""
    filesystem, root = locate(folder)
    sizes: dict[str, tuple[int, int] | None] = {}
    for image in images:
        path = f"{root.rstrip('/')}/{image}.jpg"
        try:
            with filesystem.open(path, "rb") as stream, Image.open(stream, formats=("JPEG", "PNG")) as opened:
                sizes[image] = opened.size
        except transport_errors() as error:
            if not is_gone(error):
                raise BaseSetError(f"cannot read the size of image {path}: {error}") from error
            sizes[image] = None
        except BROKEN_IMAGE as error:
            raise BaseSetError(f"cannot read the size of image {path}: {error}") from error
    return sizes


def _boxes_left(
    sources: OpenImagesSources,
    known: Mapping[str, tuple[int, int]],
    names: Mapping[str, str],
    mask_boxes: _MaskBoxes,
) -> Iterator[tuple[str, str, Box, bool]]:
    """Yield the GroupOf boxes, and those without a mask, of the images and classes that are known."""
    for row in read_boxes(sources.boxes) if sources.boxes else ():
        if row.image not in known or row.label not in names:
            continue
        drawn = mask_boxes.get((row.image, row.label), [])
        if not _has_mask(row.box, drawn):  # GroupOf boxes have none
            yield row.image, row.label, row.box, row.is_group


def _has_mask(box: Box, drawn: list[Box]) -> bool:
    if not drawn:
        return False
    overlaps = coco_mask.iou(
        np.array([_xywh(box, (1, 1))]), np.array([_xywh(one, (1, 1)) for one in drawn]), [0] * len(drawn)
    )
    return bool(np.max(overlaps) >= _SAME_BOX_IOU)


def _xywh(box: Box, size: tuple[int, int]) -> list[float]:
    x0, y0, x1, y1 = box
    return [x0 * size[0], y0 * size[1], (x1 - x0) * size[0], (y1 - y0) * size[1]]


def _mask_annotation(box: Box, size: tuple[int, int], rle: CocoRle) -> dict[str, Any]:
    return {"bbox": _xywh(box, size), "area": rle_area(rle), "iscrowd": 0, "segmentation": rle}


def _box_annotation(box: Box, size: tuple[int, int], *, is_group: bool) -> dict[str, Any]:
    x, y, width, height = bbox = _xywh(box, size)
    corners = [x, y, x + width, y, x + width, y + height, x, y + height]
    return {
        "bbox": bbox,
        "area": width * height,
        "iscrowd": 1,
        "segmentation": [corners],
        ("is_group_of" if is_group else "is_box_only"): 1,
    }


def _write(
    output: Path,
    *,
    categories: Iterable[dict[str, Any]],
    images: Iterable[dict[str, Any]],
    annotations: Iterable[dict[str, Any]],
) -> None:
    """Write the file item by item (a training set has millions), whole or not at all."""
    unfinished = output.with_name(output.name + ".partial")
    try:
        with unfinished.open("wb") as stream:
            stream.write(b'{"info": ' + msgspec.json.encode({"description": DESCRIPTION}))
            _write_list(stream, "categories", categories)
            _write_list(stream, "images", images)
            _write_list(stream, "annotations", ({"id": place, **one} for place, one in enumerate(annotations, start=1)))
            stream.write(b"}\n")
        unfinished.replace(output)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _write_list(stream: BinaryIO, name: str, items: Iterable[dict[str, Any]]) -> None:
    stream.write(f',\n"{name}": ['.encode())
    for place, item in enumerate(items):
        stream.write((b",\n" if place else b"\n") + msgspec.json.encode(item))
    stream.write(b"]")
