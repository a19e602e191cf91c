"""The mask-annotated base set: COCO (or LVIS) instance JSON beside a folder of images, restricted to some classes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from xpm_stream.config.data_sections import BaseSetConfig, DataConfig
from xpm_stream.data.coco_json import CocoImage, CocoInstance, CocoInstances, check_segmentation, read_instances
from xpm_stream.data.images import decode_image
from xpm_stream.data.splits import check_classes
from xpm_stream.data.storage import explain, is_local, locate, read_bytes
from xpm_stream.errors import BaseSetError, SampleError
from xpm_stream.masks import CocoRle, decode_rle, segmentation_to_rle

DEFAULT_MAX_PIXELS: Final = DataConfig().max_image_pixels
MAX_IMAGE_BYTES: Final = 256 << 20  # an encoded image of the base set


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseImage:
    """A decoded image with its annotated objects, crowds included."""

    image_id: int
    pixels: npt.NDArray[np.uint8]  # H x W x 3, RGB, as stored
    boxes_xyxy: npt.NDArray[np.float32]  # N x 4, pixels, inside the image
    class_names: list[str]  # N
    is_crowd: npt.NDArray[np.bool_]  # N; a crowd's mask covers several objects
    rles: list[CocoRle] = field(repr=False)  # N

    def masks(self) -> npt.NDArray[np.uint8]:
        """Decode the masks: uint8 [N, H, W] of 0 and 1."""
        height, width = self.pixels.shape[:2]
        masks = np.zeros((len(self.rles), height, width), dtype=np.uint8)
        for index, rle in enumerate(self.rles):
            masks[index] = decode_rle(rle)
        return masks


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseSetSummary:
    """What was loaded and what was left out."""

    images: int
    instances: int  # crowds included
    crowds: int
    images_without_instances: int  # of the asked classes
    images_without_instances_kept: bool
    instances_of_other_classes: int
    instances_without_area: int  # left out: a box that has no area inside its image

    def __str__(self) -> str:
        kept = "kept" if self.images_without_instances_kept else "left out"
        return (
            f"{self.images} images with {self.instances} instances ({self.crowds} crowds); "
            f"{self.images_without_instances} images without any of the classes ({kept}), "
            f"{self.instances_of_other_classes} instances of other classes and "
            f"{self.instances_without_area} without area (left out)"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseSet:
    """A loaded set; `len(s)` images, `s[i]` reads and decodes one. Safe to read from several threads."""

    class_names: list[str]  # those asked for, in that order
    class_counts: dict[str, int]  # instances that are no crowd, of every asked class
    summary: BaseSetSummary
    source: str  # URL of the annotations
    images_url: str
    max_image_pixels: int
    images: list[CocoImage] = field(repr=False)
    instances: dict[int, list[CocoInstance]] = field(repr=False)  # by image id
    names_by_category: dict[int, str] = field(repr=False)

    @classmethod
    def load(
        cls,
        config: BaseSetConfig,
        *,
        class_names: Sequence[str],
        keep_images_without_instances: bool = False,
        image_ids: Collection[int] | None = None,
        max_image_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> BaseSet:
        """Load the annotations of the named classes; `summary` says what was left out.

        Images without any of the classes are left out unless `keep_images_without_instances`; or the set is the images
        of `image_ids`, with or without. Image files are checked to be there by one listing when the folder is
        local, and when they are read otherwise.

        Raises:
            BaseSetError: the JSON cannot be used, a class is not among its categories (the nearest is suggested), an
                annotation points nowhere or has a malformed mask, an image file is missing, or nothing is left.
        """
        source = config.annotations
        parsed = read_instances(source)
        if image_ids is not None:
            parsed = _restricted(parsed, set(image_ids))
        check_classes(class_names, known={category.name for category in parsed.categories}, source=source)
        asked = set(class_names)
        names = {category.id: category.name for category in parsed.categories if category.name in asked}
        kept, without_area = _select_instances(parsed, set(names), source)
        keep_all = keep_images_without_instances or image_ids is not None
        images = [image for image in parsed.images if keep_all or image.id in kept]
        if not images:
            raise BaseSetError(
                f"{source}: no image has any of the {len(class_names)} classes, so there is nothing to learn"
            )
        images = _place_images(images, config.images, source)
        instances = [instance for of_image in kept.values() for instance in of_image]
        counts = Counter(names[instance.category_id] for instance in instances if not instance.iscrowd)
        summary = BaseSetSummary(
            images=len(images),
            instances=len(instances),
            crowds=sum(1 for instance in instances if instance.iscrowd),
            images_without_instances=len(parsed.images) - len(kept),
            images_without_instances_kept=keep_all,
            instances_of_other_classes=len(parsed.annotations) - len(instances) - without_area,
            instances_without_area=without_area,
        )
        return cls(
            class_names=list(class_names),
            class_counts={name: counts[name] for name in class_names},
            summary=summary,
            source=source,
            images_url=config.images.rstrip("/"),
            max_image_pixels=max_image_pixels,
            images=images,
            instances=kept,
            names_by_category=names,
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> BaseImage:
        """Read and decode image `index`.

        Raises:
            BaseSetError: its file is missing, broken, gigantic, or of another size than annotated.
        """
        image = self.images[index]
        instances = self.instances.get(image.id, [])
        boxes = [_box_xyxy(instance, image) for instance in instances]
        return BaseImage(
            image_id=image.id,
            pixels=self._pixels(image),
            boxes_xyxy=np.asarray(boxes, dtype=np.float32).reshape(-1, 4),
            class_names=[self.names_by_category[instance.category_id] for instance in instances],
            is_crowd=np.asarray([bool(instance.iscrowd) for instance in instances], dtype=np.bool_),
            rles=[_rle(instance, image) for instance in instances],
        )

    def _pixels(self, image: CocoImage) -> npt.NDArray[np.uint8]:
        url = f"{self.images_url}/{image.name}"
        what = f"image {image.id} of {self.source} at"
        data = read_bytes(url, what=what, max_bytes=MAX_IMAGE_BYTES, error_class=BaseSetError)
        try:
            pixels = decode_image(data, max_pixels=self.max_image_pixels)
        except SampleError as error:
            raise BaseSetError(f"image {image.id} of {self.source} at {url}: {error}") from error
        if pixels.shape[:2] != (image.height, image.width):
            raise BaseSetError(
                f"{url} is {pixels.shape[1]} x {pixels.shape[0]} pixels, "
                f"but {self.source} annotates it as {image.width} x {image.height}"
            )
        return pixels


class BaseSampler:
    """An endless seeded order over a base set: each pass is a new permutation; the place in it can be saved."""

    def __init__(self, base_set: BaseSet, *, seed: int) -> None:
        self._num_images = len(base_set)
        self._source = base_set.source
        self._seed = seed
        self._pass = 0
        self._position = 0
        self._order = self._permutation()

    def take(self, count: int) -> list[int]:
        """Return the next `count` indices; a batch may reach into the next pass."""
        taken: list[int] = []
        while len(taken) < count:
            if self._position == self._num_images:
                self._pass += 1
                self._position = 0
                self._order = self._permutation()
            end = min(self._position + count - len(taken), self._num_images)
            taken.extend(int(index) for index in self._order[self._position : end])
            self._position = end
        return taken

    def state(self) -> dict[str, Any]:
        """Return the place in the order, JSON-able."""
        return {
            "seed": self._seed,
            "num_images": self._num_images,
            "pass": self._pass,
            "position": self._position,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from a place returned by `state()`, in the order of its seed.

        Raises:
            BaseSetError: the state is of a set with another number of images.
        """
        if state["num_images"] != self._num_images:
            raise BaseSetError(
                f"{self._source} has {self._num_images} images now, but had {state['num_images']} when the checkpoint "
                "was written: resume with the same base set and classes, or start a new run"
            )
        self._seed, self._pass, self._position = state["seed"], state["pass"], state["position"]
        self._order = self._permutation()

    def _permutation(self) -> npt.NDArray[np.int64]:
        return np.random.default_rng([self._seed, self._pass]).permutation(self._num_images)


def _restricted(parsed: CocoInstances, image_ids: Collection[int]) -> CocoInstances:
    return CocoInstances(
        images=[image for image in parsed.images if image.id in image_ids],
        annotations=[instance for instance in parsed.annotations if instance.image_id in image_ids],
        categories=parsed.categories,
    )


def _select_instances(
    parsed: CocoInstances, category_ids: set[int], source: str
) -> tuple[dict[int, list[CocoInstance]], int]:
    images = {image.id: image for image in parsed.images}
    kept: dict[int, list[CocoInstance]] = defaultdict(list)
    without_area = 0
    for instance in parsed.annotations:
        if instance.category_id not in category_ids:
            continue
        image = images[instance.image_id]
        check_segmentation(instance, height=image.height, width=image.width, source=source)
        left, top, right, bottom = _box_xyxy(instance, image)
        if right > left and bottom > top:
            kept[image.id].append(instance)
        else:
            without_area += 1
    return dict(kept), without_area


def _box_xyxy(instance: CocoInstance, image: CocoImage) -> tuple[float, float, float, float]:
    left, top, width, height = instance.bbox
    return (
        max(0.0, left),
        max(0.0, top),
        min(float(image.width), left + width),
        min(float(image.height), top + height),
    )


def _rle(instance: CocoInstance, image: CocoImage) -> CocoRle:
    return segmentation_to_rle(msgspec.json.decode(instance.segmentation), height=image.height, width=image.width)


def _place_images(images: Sequence[CocoImage], images_url: str, source: str) -> list[CocoImage]:
    """Return the images with `file_name` as it is below the images folder, checked against a listing where it is local.

    LVIS names its images by URL, .../val2017/1.jpg, and its val set has images of two of COCO's folders: either the
    folder holds them as 1.jpg, or it is COCO's root.
    """
    nameless = next((image.id for image in images if not image.name), None)
    if nameless is not None:
        raise BaseSetError(f"{source}: image {nameless} has neither 'file_name' nor 'coco_url'")
    filesystem, folder = locate(images_url)
    if not is_local(filesystem):
        own = images_url.rstrip("/").rpartition("/")[2]
        return [_at(image, image.name if image.folder in ("", own) else image.name_in_folder) for image in images]
    try:
        present = {name[len(folder.rstrip("/")) + 1 :] for name in filesystem.find(folder)}
    except OSError as error:
        raise BaseSetError(f"cannot list the images folder {images_url}: {explain(error)}") from error
    placed = [_at(image, image.name_in_folder if image.name_in_folder in present else image.name) for image in images]
    missing = [image.name for image in placed if image.name not in present]
    if missing:
        shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise BaseSetError(
            f"{len(missing)} of the {len(images)} images that {source} names are not in {images_url}: {shown}"
        )
    return placed


def _at(image: CocoImage, file_name: str) -> CocoImage:
    return image if file_name == image.name else msgspec.structs.replace(image, file_name=file_name)
