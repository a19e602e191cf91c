"""What is really in the images: instance annotations in COCO's form, indexed for judging.

Three protocols. `coco`: every image is annotated with every class. `lvis` and `open_images` are federated: an image
says of some classes only whether they are there, and a detection of any other is neither right nor wrong.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from xpm_stream.data.class_names import plain_class_names
from xpm_stream.data.open_images_files import DESCRIPTION as OPEN_IMAGES
from xpm_stream.data.storage import MAX_ANNOTATIONS_BYTES, read_bytes
from xpm_stream.errors import BaseSetError

Protocol = Literal["coco", "lvis", "open_images"]
PROTOCOLS: Final[tuple[Protocol, ...]] = ("coco", "lvis", "open_images")
_ANNOTATION_FIELDS: Final = ("id", "image_id", "category_id", "bbox", "area", "segmentation")


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """The annotations of a COCO instance file; categories are known by name."""

    images: Mapping[int, Mapping[str, Any]]
    annotations: Mapping[int, Sequence[Mapping[str, Any]]] = field(repr=False)  # by image id, crowds included
    category_ids: Mapping[str, int]
    source: str = "COCO annotations"
    protocol: Protocol = "coco"

    @classmethod
    def from_file(cls, path: str | Path, *, protocol: Protocol | None = None) -> GroundTruth:
        """Read an instance JSON of COCO, LVIS or `datasets open-images` from any fsspec URL.

        Raises:
            BaseSetError: the file cannot be read, or is not such JSON.
        """
        what = "COCO annotations"
        content = read_bytes(str(path), what=what, max_bytes=MAX_ANNOTATIONS_BYTES, error_class=BaseSetError)
        try:
            document = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise BaseSetError(f"cannot read {what} {path}: {error}") from error
        return cls.from_coco(document, source=str(path), protocol=protocol)

    @classmethod
    def from_coco(
        cls, document: Mapping[str, Any], *, source: str = "COCO annotations", protocol: Protocol | None = None
    ) -> GroundTruth:
        """Index an instance document: `images`, `annotations`, `categories`.

        The protocol is what the document looks like, unless it is given: LVIS's images list `neg_category_ids`, and
        files made of Open Images say so in `info`. LVIS's category names become plain words.

        Raises:
            BaseSetError: a part is missing, an annotation names an image or category that is not there, or the document
                lacks what a federated protocol needs.
        """
        if not isinstance(document, Mapping):
            raise BaseSetError(f"{source} is not COCO instance JSON")
        missing = {"images", "annotations", "categories"} - set(document)
        if missing:
            raise BaseSetError(f"{source}: no {', '.join(sorted(missing))}; expected COCO instance JSON")
        for part in ("images", "annotations", "categories"):
            _require_numbered(document[part], part, source=source)
        _require_fields(document["images"], ("id", "height", "width"), what="image", source=source)
        _require_fields(document["annotations"], _ANNOTATION_FIELDS, what="annotation", source=source)
        images = {int(image["id"]): image for image in document["images"]}
        _require_fields(document["categories"], ("id", "name"), what="category", source=source)
        category_ids = _category_ids(document["categories"], source=source)
        protocol = protocol or _protocol_of(document)
        if protocol != "coco":
            fields = ("neg_category_ids", "not_exhaustive_category_ids" if protocol == "lvis" else "pos_category_ids")
            _require_fields(document["images"], fields, what=f"{protocol} image", source=source)
        known = set(category_ids.values())
        annotations: dict[int, list[Mapping[str, Any]]] = {image_id: [] for image_id in images}
        for annotation in document["annotations"]:
            if annotation["image_id"] not in images:
                raise BaseSetError(
                    f"{source}: annotation {annotation['id']} is of image {annotation['image_id']}, which is not listed"
                )
            if annotation["category_id"] not in known:
                raise BaseSetError(
                    f"{source}: annotation {annotation['id']} has unknown category {annotation['category_id']}"
                )
            annotations[annotation["image_id"]].append(annotation)
        return cls(images, annotations, category_ids, source, protocol)

    def known_classes(self, names: Iterable[str]) -> list[str]:
        """Return the names that are categories here, in the order given, each once."""
        return [name for name in dict.fromkeys(names) if name in self.category_ids]

    def images_with(self, names: Iterable[str]) -> list[int]:
        """Return the ids of the images that contain at least one of the classes, sorted."""
        wanted = {self.category_ids[name] for name in self.known_classes(names)}
        return sorted(
            image_id
            for image_id, annotations in self.annotations.items()
            if any(annotation["category_id"] in wanted for annotation in annotations)
        )

    def verified(self, image_id: int) -> frozenset[int]:
        """Return the ids of the categories of which is known whether the image has them; `coco`: all."""
        if self.protocol == "coco":
            return frozenset(self.category_ids.values())
        image = self.images[image_id]
        present = (annotation["category_id"] for annotation in self.annotations[image_id])
        return frozenset([*image["neg_category_ids"], *image.get("pos_category_ids", ()), *present])

    def not_exhaustive(self, image_id: int) -> frozenset[int]:
        """Return the ids of the categories of which the image has more objects than are annotated (`lvis`)."""
        return frozenset(self.images[image_id]["not_exhaustive_category_ids"] if self.protocol == "lvis" else ())

    def images_to_judge(self, names: Iterable[str]) -> list[int]:
        """Return the ids of the images that count for the classes, sorted.

        `coco`: those that contain one of them. Federated: those that are known to contain one, or known not to.
        """
        if self.protocol == "coco":
            return self.images_with(names)
        wanted = {self.category_ids[name] for name in self.known_classes(names)}
        return sorted(image_id for image_id in self.images if not wanted.isdisjoint(self.verified(image_id)))

    def of_classes(self, image_id: int, names: Iterable[str]) -> list[Mapping[str, Any]]:
        """Return the annotations of the classes in an image, crowds included, in file order.

        Raises:
            BaseSetError: the image is not part of this set.
        """
        if image_id not in self.annotations:
            raise BaseSetError(f"{self.source}: there is no image {image_id}")
        wanted = {self.category_ids[name] for name in self.known_classes(names)}
        return [annotation for annotation in self.annotations[image_id] if annotation["category_id"] in wanted]

    def subset(self, image_ids: Iterable[int]) -> GroundTruth:
        """Return the same categories with only the given images.

        Raises:
            BaseSetError: an image is not part of this set.
        """
        chosen = list(image_ids)
        for image_id in chosen:
            if image_id not in self.images:
                raise BaseSetError(f"{self.source}: there is no image {image_id}")
        return GroundTruth(
            {image_id: self.images[image_id] for image_id in chosen},
            {image_id: self.annotations[image_id] for image_id in chosen},
            self.category_ids,
            self.source,
            self.protocol,
        )

    def count_instances(self) -> Counter[str]:
        """Return how many instances each class has, crowds left out."""
        names = {category_id: name for name, category_id in self.category_ids.items()}
        return Counter(
            names[annotation["category_id"]]
            for annotations in self.annotations.values()
            for annotation in annotations
            if not annotation.get("iscrowd", 0)
        )


def _protocol_of(document: Mapping[str, Any]) -> Protocol:
    info = document.get("info")
    if isinstance(info, Mapping) and info.get("description") == OPEN_IMAGES:
        return "open_images"
    return "lvis" if any("neg_category_ids" in image for image in document["images"]) else "coco"


def _category_ids(categories: Sequence[Mapping[str, Any]], *, source: str) -> dict[str, int]:
    names = [str(category["name"]) for category in categories]
    if any(category.get("frequency") for category in categories):
        names = plain_class_names(names)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise BaseSetError(f"{source}: several categories are named {', '.join(map(repr, twice[:3]))}")
    return {name: int(category["id"]) for name, category in zip(names, categories, strict=True)}


def _require_numbered(items: object, part: str, *, source: str) -> None:
    if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
        raise BaseSetError(f"{source}: {part!r} is not a list of objects; expected COCO instance JSON")
    odd = [item["id"] for item in items if "id" in item and type(item["id"]) is not int]
    if odd:
        raise BaseSetError(f"{source}: {part!r} has an 'id' that is no whole number: {odd[0]!r}")


def _require_fields(items: Sequence[Mapping[str, Any]], fields: Sequence[str], *, what: str, source: str) -> None:
    for place, item in enumerate(items):
        missing = [name for name in fields if name not in item]
        if missing:
            raise BaseSetError(f"{source}: {what} {item.get('id', f'at place {place}')} has no {', '.join(missing)}")


def boxes_xywh(annotations: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.float64]:
    """Return the boxes of COCO annotations as float64 [N, 4] x, y, width, height; N may be 0."""
    return np.asarray([annotation["bbox"] for annotation in annotations], dtype=np.float64).reshape(-1, 4)


def xyxy_to_xywh(boxes: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Turn boxes [N, 4] from two corners into corner and size; N may be 0."""
    corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
