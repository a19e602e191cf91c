"""What is really in the images: COCO instance annotations, indexed for judging."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import fsspec
import numpy as np
import numpy.typing as npt

from xpm_stream.errors import BaseSetError

_ANNOTATION_FIELDS: Final = ("id", "image_id", "category_id", "bbox", "area", "segmentation")


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """The annotations of a COCO instance file; categories are known by name."""

    images: Mapping[int, Mapping[str, Any]]
    annotations: Mapping[int, Sequence[Mapping[str, Any]]] = field(repr=False)  # by image id, crowds included
    category_ids: Mapping[str, int]
    source: str = "COCO annotations"

    @classmethod
    def from_file(cls, path: str | Path) -> GroundTruth:
        """Read a COCO instance JSON from any fsspec URL.

        Raises:
            BaseSetError: the file cannot be read, or is not COCO instance JSON.
        """
        try:
            with fsspec.open(str(path), "rb") as stream:
                document = json.load(stream)
        except (OSError, ValueError) as error:
            raise BaseSetError(f"cannot read COCO annotations {path}: {error}") from error
        return cls.from_coco(document, source=str(path))

    @classmethod
    def from_coco(cls, document: Mapping[str, Any], *, source: str = "COCO annotations") -> GroundTruth:
        """Index a COCO instance document: `images`, `annotations`, `categories`.

        Raises:
            BaseSetError: a part is missing, or an annotation names an image or category that is not there.
        """
        missing = {"images", "annotations", "categories"} - set(document)
        if missing:
            raise BaseSetError(f"{source}: no {', '.join(sorted(missing))}; expected COCO instance JSON")
        _require_fields(document["images"], ("id", "height", "width"), what="image", source=source)
        _require_fields(document["annotations"], _ANNOTATION_FIELDS, what="annotation", source=source)
        images = {int(image["id"]): image for image in document["images"]}
        category_ids = {str(category["name"]): int(category["id"]) for category in document["categories"]}
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
        return cls(images, annotations, category_ids, source)

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
