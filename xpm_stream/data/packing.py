"""COCO captions JSON and a folder of images, packed into caption shards."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from xpm_stream.data.coco_json import CocoImage, read_captions
from xpm_stream.data.shard_writing import IMAGE_EXTENSIONS, CaptionSample, write_caption_shards
from xpm_stream.data.storage import explain, locate, transport_errors
from xpm_stream.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class PackReport:
    """What was packed and what was left out."""

    shards: list[str]  # URLs
    samples: int
    captions: int
    images_without_captions: int  # left out
    empty_captions: int  # left out


def pack_coco_captions(
    captions_json: str | Path,
    images_folder: str | Path,
    output_folder: str | Path,
    *,
    samples_per_shard: int = 1000,
    prefix: str = "",
    overwrite: bool = False,
) -> PackReport:
    """Write caption shards of the images that a COCO captions file names, in the order of their ids.

    Images go in as they are stored; a caption that has several lines becomes one. The same input gives the same bytes.
    All three places may be paths or fsspec URLs.

    Raises:
        DataError: the captions file cannot be used, an image file is missing or of another kind than JPEG, PNG and
            WebP, or no image has a caption.
        ShardError: the output folder already holds shards of this prefix (see `overwrite`).
    """
    parsed = read_captions(str(captions_json))
    captions: dict[int, list[str]] = defaultdict(list)
    empty = 0
    for annotation in sorted(parsed.annotations, key=lambda annotation: annotation.id):
        caption = " ".join(annotation.caption.split())
        if caption:
            captions[annotation.image_id].append(caption)
        else:
            empty += 1
    images = sorted((image for image in parsed.images if image.id in captions), key=lambda image: image.id)
    if not images:
        raise DataError(f"{captions_json}: none of its {len(parsed.images)} images has a caption")
    shards = write_caption_shards(
        _samples(images, captions, str(images_folder).rstrip("/")),
        output_folder,
        samples_per_shard=samples_per_shard,
        prefix=prefix,
        overwrite=overwrite,
    )
    return PackReport(
        shards=shards,
        samples=len(images),
        captions=sum(len(of_image) for of_image in captions.values()),
        images_without_captions=len(parsed.images) - len(images),
        empty_captions=empty,
    )


def _samples(
    images: Sequence[CocoImage], captions: Mapping[int, list[str]], images_folder: str
) -> Iterator[CaptionSample]:
    for image in images:
        extension = image.name.rpartition(".")[2].lower()
        if extension not in IMAGE_EXTENSIONS:
            raise DataError(f"image {image.id} ({image.name}) is not one of {', '.join(IMAGE_EXTENSIONS)}")
        yield CaptionSample(
            key=f"{image.id:012d}",
            image=_read_image(f"{images_folder}/{image.name}", image.id),
            image_extension=extension,
            captions=captions[image.id],
            metadata={"image_id": image.id, "file_name": image.name},
        )


def _read_image(url: str, image_id: int) -> bytes:
    filesystem, path = locate(url)
    try:
        return bytes(filesystem.cat_file(path))
    except transport_errors() as error:
        raise DataError(f"cannot read image {image_id} at {url}: {explain(error)}") from error
