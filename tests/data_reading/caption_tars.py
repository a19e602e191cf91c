"""Real tars, built member by member, and small samples to put into them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence

Members = Sequence[tuple[str, bytes]]


def tar_bytes(members: Members, *, tar_format: int = tarfile.USTAR_FORMAT) -> bytes:
    """Return a plain tar that holds the members in order."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def pair(key: str, *, image: bytes = b"\xff\xd8 an image", caption: bytes = b"a dog") -> list[tuple[str, bytes]]:
    """Return the two members of a usable sample."""
    return [(f"{key}.jpg", image), (f"{key}.txt", caption)]
