"""An S3 server for the tests of this folder, and an empty registry on it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from object_servers import BUCKET, missing_for_s3, s3_environment, s3_server


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The address of a process that speaks S3."""
    if (missing := missing_for_s3()) is not None:
        pytest.skip(missing)
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture
def s3(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of an empty registry, for this process and those it starts."""
    with _client_of(s3_endpoint, monkeypatch) as url:
        yield url


@pytest.fixture
def forgetful_s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The same on a server that ignores the condition of a write."""
    if (missing := missing_for_s3()) is not None:
        pytest.skip(missing)
    with s3_server(forgetful=True) as endpoint, _client_of(endpoint, monkeypatch) as url:
        yield url


@contextlib.contextmanager
def _client_of(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    import s3fs

    for name, value in s3_environment(endpoint).items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()  # a client keeps the address it was made with
    yield f"s3://{BUCKET}/{uuid.uuid4().hex}/registry"
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode != 0:
        pytest.skip("a small disk needs the right to mount one (root)")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
