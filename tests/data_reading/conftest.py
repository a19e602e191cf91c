"""Fixtures of the reading tests: real shards, a real JPEG."""

from __future__ import annotations

import io
import tarfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from caption_tars import Members, tar_bytes
from PIL import Image

WriteTar = Callable[..., str]


@pytest.fixture
def write_tar(tmp_path: Path) -> WriteTar:
    """A function that writes members to a shard and returns its path."""

    def write(members: Members, *, name: str = "shard.tar", tar_format: int = tarfile.USTAR_FORMAT) -> str:
        path = tmp_path / name
        path.write_bytes(tar_bytes(members, tar_format=tar_format))
        return str(path)

    return write


@pytest.fixture(scope="session")
def jpeg() -> bytes:
    """A 32 x 24 JPEG."""
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((32, 24)).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


class _QuietHandler(SimpleHTTPRequestHandler):
    """Python's own file server: it knows no byte ranges."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def http_folder(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the URL under which a web server gives it out."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_QuietHandler, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield tmp_path, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()
