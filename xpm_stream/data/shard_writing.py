"""Caption shards as WebDataset and img2dataset write them, with the same bytes for the same samples."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import re
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from fsspec import AbstractFileSystem

from xpm_stream.data.storage import locate
from xpm_stream.errors import DataError, ShardError

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp")
_KEY = re.compile(r"[^./\s]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionSample:
    """An encoded image with its captions, as it will stand in a shard."""

    key: str  # unique in the corpus; no dot, slash or space: WebDataset splits names at the first dot
    image: bytes  # the encoded file
    image_extension: str  # jpg, jpeg, png or webp
    captions: list[str]  # one line each
    metadata: dict[str, object] = field(default_factory=dict)  # JSON-able; written beside `captions` in KEY.json


def write_caption_shards(
    samples: Iterable[CaptionSample],
    output_folder: str | Path,
    *,
    samples_per_shard: int,
    prefix: str = "",
    overwrite: bool = False,
) -> list[str]:
    """Write samples to `<prefix>000000.tar`, ... and return the shards' URLs in order.

    Each sample is KEY.<ext>, KEY.txt (one caption a line) and KEY.json (`captions` and the metadata). A shard takes
    its name when it is whole, and `<shard>_stats.json` beside it, as img2dataset writes it, says that it is. The
    same samples give the same bytes.

    Args:
        samples: in the order to be written; consumed as a stream, one shard open at a time.
        output_folder: folder or fsspec URL; made where missing.
        samples_per_shard: samples in each shard, the last may hold fewer.
        prefix: start of the shards' names.
        overwrite: remove the shards of this prefix that are there already; otherwise they are an error, because a
            longer earlier corpus would stay mixed into this one.

    Raises:
        ShardError: the folder already holds shards of this prefix.
        DataError: a sample cannot be written as given (key, extension, empty or many-lined caption).
    """
    if samples_per_shard < 1:
        raise DataError(f"samples_per_shard must be at least 1, not {samples_per_shard}")
    filesystem, folder = locate(str(output_folder))
    filesystem.makedirs(folder, exist_ok=True)
    _clear_earlier_shards(filesystem, folder, prefix, overwrite=overwrite)
    urls: list[str] = []
    stream = iter(samples)
    for first in stream:
        stem = f"{folder}/{prefix}{len(urls):06d}"
        count = _write_shard(
            filesystem, f"{stem}.tar", itertools.chain([first], itertools.islice(stream, samples_per_shard - 1))
        )
        _write_stats(filesystem, f"{stem}_stats.json", count)
        urls.append(str(filesystem.unstrip_protocol(f"{stem}.tar")))
    return urls


def _clear_earlier_shards(filesystem: AbstractFileSystem, folder: str, prefix: str, *, overwrite: bool) -> None:
    filesystem.invalidate_cache()
    ours = re.compile(rf"{re.escape(prefix)}\d{{6}}(\.tar|_stats\.json)(\.partial)?$")
    names = [name for name in filesystem.ls(folder, detail=False) if ours.fullmatch(name.rsplit("/", 1)[-1])]
    if names and not overwrite:
        raise ShardError(
            f"{folder} already holds shards ({names[0]}): choose another folder or prefix, or overwrite them"
        )
    # Statistics first: a shard must not look complete while it is being replaced.
    for name in sorted(names, key=lambda name: name.endswith(".tar")):
        filesystem.rm_file(name)


def _write_shard(filesystem: AbstractFileSystem, path: str, samples: Iterable[CaptionSample]) -> int:
    partial = f"{path}.partial"
    with contextlib.ExitStack() as undo:
        undo.callback(_discard, filesystem, partial)
        with filesystem.open(partial, "wb") as stream:
            count = _write_tar(stream, samples)
        undo.pop_all()
    filesystem.mv(partial, path)
    return count


def _discard(filesystem: AbstractFileSystem, path: str) -> None:
    if filesystem.exists(path):
        filesystem.rm_file(path)


def _write_tar(stream: IO[bytes], samples: Iterable[CaptionSample]) -> int:
    # The layout of webdataset's TarWriter, not the class itself: importing it imports torch, which costs a process that
    # only packs or draws a corpus four seconds and 500 MB.
    count = 0
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for sample in samples:
            for name, content in _members(sample):
                member = tarfile.TarInfo(name)
                member.size, member.mode, member.mtime = len(content), 0o444, 0
                member.uname = member.gname = "bigdata"
                tar.addfile(member, io.BytesIO(content))
            count += 1
    return count


def _members(sample: CaptionSample) -> list[tuple[str, bytes]]:
    if not _KEY.fullmatch(sample.key):
        raise DataError(
            f"key {sample.key!r} must have no dot, slash or space: WebDataset splits names at the first dot"
        )
    if sample.image_extension not in IMAGE_EXTENSIONS:
        raise DataError(
            f"{sample.key}: image extension {sample.image_extension!r} is not one of {', '.join(IMAGE_EXTENSIONS)}"
        )
    for caption in sample.captions:
        if not caption.strip() or len(caption.splitlines()) != 1:
            raise DataError(f"{sample.key}: caption {caption[:80]!r} must be one line and not empty")
    fields = {"captions": sample.captions, **sample.metadata}
    return [
        (f"{sample.key}.{sample.image_extension}", sample.image),
        (f"{sample.key}.json", json.dumps(fields, ensure_ascii=False, sort_keys=True).encode("utf-8")),
        (f"{sample.key}.txt", "\n".join(sample.captions).encode("utf-8")),
    ]


def _write_stats(filesystem: AbstractFileSystem, path: str, count: int) -> None:
    # img2dataset's fields without its clock times, which would change the bytes of equal corpora.
    stats = {
        "count": count,
        "successes": count,
        "failed_to_download": 0,
        "failed_to_resize": 0,
        "status_dict": {"success": count},
    }
    with filesystem.open(f"{path}.partial", "wb") as stream:
        stream.write(json.dumps(stats, sort_keys=True).encode("ascii"))
    filesystem.mv(f"{path}.partial", path)
