"""Caption shards for the counting method: tiny lossless images that carry their number, in the layout of WebDataset."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from PIL import Image

from benchmarks.stub.counting import BASE_CLASSES, METHOD, pixels_of
from xpm_stream.config import RunConfig
from xpm_stream.methods import find_method
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.registry.promotion_log import Candidate, PromotionLog
from xpm_stream.stages.network_files import network_files
from xpm_stream.stages.run_folder import RunFolder

CAPTIONS = ("a dog beside a cat", "two cars and an umbrella", "a cup on a table")
WITHOUT_NOUNS = "so very nice"  # a sample with nothing to label, which is skipped
NO_IMAGE = b"no picture at all"  # a sample that cannot be decoded, which becomes a dead letter


def write_stub_shard(
    path: Path, *, first: int, samples: int, nounless_every: int = 0, broken_every: int = 0
) -> list[int]:
    """Write a shard of samples numbered from `first`; return the numbers of those that can be trained.

    Args:
        path: the tar to write.
        first: number of the first sample.
        samples: how many.
        nounless_every: every so many samples have a caption without nouns; 0: none.
        broken_every: every so many samples have an image that cannot be decoded; 0: none.
    """
    usable = []
    with tarfile.open(path, "w") as tar:
        for number in range(first, first + samples):
            nounless = nounless_every > 0 and number % nounless_every == nounless_every - 1
            broken = broken_every > 0 and number % broken_every == broken_every - 1
            _add(tar, f"{number:09d}.png", NO_IMAGE if broken else _encoded(number))
            _add(tar, f"{number:09d}.txt", (WITHOUT_NOUNS if nounless else CAPTIONS[number % len(CAPTIONS)]).encode())
            if not nounless and not broken:
                usable.append(number)
    return usable


def write_stub_corpus(
    folder: Path, *, shards: int, samples_per_shard: int, nounless_every: int = 0, broken_every: int = 0
) -> list[int]:
    """Write `shard-NNNNN.tar` files into a folder; return the numbers of the samples that can be trained."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        number
        for shard in range(shards)
        for number in write_stub_shard(
            folder / f"shard-{shard:05d}.tar",
            first=shard * samples_per_shard,
            samples=samples_per_shard,
            nounless_every=nounless_every,
            broken_every=broken_every,
        )
    ]


def propose_stub_teacher(config: RunConfig, *, number: int = 0) -> Candidate:
    """Write a tally of zeros as a teacher and propose it, as `xpm-stream teach` would; return the proposal.

    A further `number` makes a further teacher of it, beside which earlier labels are stale.
    """
    assert config.method == METHOD, config.method
    method = find_method(METHOD)(config, base_classes=BASE_CLASSES)
    url = RunFolder.of(config).registry_url(config)
    files = network_files(method, config=config, base_classes=list(BASE_CLASSES), weights=None)
    name = f"teacher-s{number}"
    CheckpointStore(f"{url}/checkpoints").write(name, files, order=(0, number))
    return PromotionLog(url).propose(name, epoch=0, step=number, metadata={"stage": "teacher"})


def _encoded(number: int) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(pixels_of(number)).save(encoded, "PNG", compress_level=0)
    return encoded.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))
