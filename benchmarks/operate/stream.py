"""The stream of the demonstration: shards of a synthetic corpus, put there one after the other, right or mixed up."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from xpm_stream.config.data_sections import DataConfig
from xpm_stream.data.shard_writing import CaptionSample, write_caption_shards
from xpm_stream.data.tar_reading import TarSample, read_samples


class Stream:
    """A folder that the run watches. A shard given again is a new one: its name is."""

    def __init__(self, shards: Sequence[Path], folder: Path) -> None:
        self.folder = folder
        self.given = 0  # shards put there
        self._right = itertools.cycle(shards)
        self._wrong = itertools.cycle(shards)
        folder.mkdir(parents=True)

    def add(self) -> None:
        """Put the next shard there as it was drawn."""
        shard = next(self._right)
        target = self.folder / f"{self.given:06d}.tar"
        self.given += 1
        shutil.copyfile(shard, target.with_suffix(".new"))
        target.with_suffix(".new").rename(target)

    def add_mixed_up(self) -> None:
        """Put the next shard there with each image's captions at the image before, as a broken join leaves them."""
        samples = list(_samples(next(self._wrong)))
        mixed = [
            CaptionSample(
                key=sample.key, image=sample.image, image_extension=sample.image_extension, captions=other.captions
            )
            for sample, other in zip(samples, [*samples[1:], *samples[:1]], strict=True)
        ]
        write_caption_shards(mixed, self.folder, samples_per_shard=len(mixed), prefix=f"{self.given:06d}-mixed-up-")
        self.given += 1


def _samples(shard: Path) -> Iterator[CaptionSample]:
    for item in read_samples(str(shard), config=DataConfig()):
        if isinstance(item, TarSample) and item.problem is None:
            yield CaptionSample(key=item.key, image=item.image, image_extension="jpg", captions=item.captions)
