"""The canary set: captioned images frozen at the first gate, which every candidate labels from then on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from xpm_stream.config import RunConfig
from xpm_stream.data.images import decode_image
from xpm_stream.data.shard_urls import ShardFile, expand_shard_urls
from xpm_stream.data.tar_reading import TarSample, read_samples
from xpm_stream.errors import RegistryError, SampleError, ShardError
from xpm_stream.registry.store import Store
from xpm_stream.text.caption_nouns import CaptionNouns

CANARY_SET_PATH: Final = "drift/canary/set.msgpack"
_SCHEMA_VERSION: Final = 1
_SHARDS: Final = 32  # read from, evenly spread over those there are: neighbours in a shard resemble each other
_MAX_IMAGE_BYTES: Final = 1 << 20  # larger files are passed over: the set is read whole


class CanaryImage(msgspec.Struct, frozen=True, kw_only=True):
    """One captioned image."""

    key: str
    shard_id: str
    ordinal: int
    image: bytes  # the encoded file
    captions: list[str]
    nouns_per_caption: list[int]
    words: list[str]  # distinct object nouns of all captions

    def pixels(self, *, max_pixels: int) -> npt.NDArray[np.uint8]:
        """Return the decoded image, H x W x 3 RGB.

        Raises:
            SampleError: it cannot be decoded, or is larger than allowed.
        """
        return decode_image(self.image, max_pixels=max_pixels)


class CanarySet(msgspec.Struct, frozen=True, kw_only=True):
    """The images, in a fixed order."""

    schema_version: int = _SCHEMA_VERSION
    images: list[CanaryImage]

    @property
    def canary_id(self) -> str:
        """Which set this is: a hash of all it holds."""
        return hashlib.sha256(msgspec.msgpack.encode(self)).hexdigest()[:16]


def canary_set(store: Store, config: RunConfig, *, urls: Sequence[str]) -> CanarySet | None:
    """Return the run's canary set; the first who asks makes it, of caption shards that are there now.

    None where none is asked for, or while the corpus still grows and holds too few images.

    Args:
        store: the registry.
        config: of the run.
        urls: caption shards, besides those that `data.shards` names.

    Raises:
        RegistryError: the set in the registry is damaged.
        ShardError: a shard that the configuration names is missing.
    """
    if not config.promotion.gates.canary_images:
        return None
    try:
        return _decode(store.read(CANARY_SET_PATH), store)
    except FileNotFoundError:
        pass
    images = _choose(config, urls=urls)
    if not images or (config.data.watch and len(images) < config.promotion.gates.canary_images):
        return None
    made = CanarySet(images=images)
    try:
        store.create(CANARY_SET_PATH, msgspec.msgpack.encode(made))
    except FileExistsError:  # another promoter was first: its set is the run's
        return _decode(store.read(CANARY_SET_PATH), store)
    return made


def _decode(data: bytes, store: Store) -> CanarySet:
    try:
        found = msgspec.msgpack.decode(data, type=CanarySet)
    except msgspec.DecodeError as error:
        raise RegistryError(
            f"{CANARY_SET_PATH} in {store.url} is damaged ({error}): delete it, and another set is frozen"
        ) from error
    if found.schema_version > _SCHEMA_VERSION:
        raise RegistryError(f"{CANARY_SET_PATH} in {store.url} is of a newer xpm-stream: update this one")
    return found


def _choose(config: RunConfig, *, urls: Sequence[str]) -> list[CanaryImage]:
    """Take the first usable images of shards spread over the corpus, as many of each shard."""
    wanted = config.promotion.gates.canary_images
    shards = expand_shard_urls([*config.data.shards, *urls], may_be_missing=config.data.watch)
    if not shards:
        return []
    places = np.unique(np.linspace(0, len(shards) - 1, num=min(_SHARDS, len(shards))).round().astype(int))
    nouns = CaptionNouns.load()
    readers = [_usable(shards[place], config, nouns) for place in places]
    chosen: list[CanaryImage] = []
    while readers and len(chosen) < wanted:
        for reader in list(readers):
            image = next(reader, None)
            if image is None:
                readers.remove(reader)
            elif len(chosen) < wanted:
                chosen.append(image)
    return sorted(chosen, key=lambda image: (image.shard_id, image.ordinal))


def _usable(shard: ShardFile, config: RunConfig, nouns: CaptionNouns) -> Iterator[CanaryImage]:
    try:
        for item in read_samples(shard.url, config=config.data):
            if not isinstance(item, TarSample) or item.problem is not None or len(item.image) > _MAX_IMAGE_BYTES:
                continue
            found = [nouns.find(caption) for caption in item.captions]
            words = list(dict.fromkeys(word for of_caption in found for word in of_caption))
            try:
                decode_image(item.image, max_pixels=config.data.max_image_pixels)
            except SampleError:
                continue  # the labelers book what cannot be used
            if words:
                yield CanaryImage(
                    key=item.key,
                    shard_id=shard.shard_id,
                    ordinal=item.ordinal,
                    image=item.image,
                    captions=item.captions,
                    nouns_per_caption=[len(of_caption) for of_caption in found],
                    words=words,
                )
    except ShardError:
        return  # unreadable now; the labelers book it, and other shards are read
