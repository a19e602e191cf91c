"""Plain shards of a given size."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path


def write_shard(path: Path, *, samples: int, image_bytes: int) -> int:
    """Write a shard whose images are only bytes; return its size."""
    with tarfile.open(path, "w") as tar:
        for number in range(samples):
            for name, data in ((f"{number:06d}.jpg", b"x" * image_bytes), (f"{number:06d}.txt", b"a dog")):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path.stat().st_size
