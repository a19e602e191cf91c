"""What who names a store that cannot be used is told: one error of ours, with the way out."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from xpm_stream.errors import RegistryError
from xpm_stream.registry.pulling import pull_checkpoint


def test_s3_without_credentials_says_how_to_give_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    s3fs = pytest.importorskip("s3fs")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(RegistryError, match="no credentials found: set AWS_ACCESS_KEY_ID") as raised:
        pull_checkpoint("s3://bucket/run")
    assert str(raised.value).count("s3://bucket/run") == 1
    s3fs.S3FileSystem.clear_instance_cache()


def test_an_address_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    s3fs = pytest.importorskip("s3fs")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "minio:9000")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(RegistryError, match=r"cannot read s3://bucket/run: Invalid endpoint: minio:9000"):
        pull_checkpoint("s3://bucket/run")
    with pytest.raises(RegistryError, match="cannot read http:///run"):
        pull_checkpoint("http:///run")
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_hub_that_cannot_be_reached_is_told() -> None:
    """In a process of its own: the hub's address is read at import."""
    pytest.importorskip("huggingface_hub")
    program = (
        "import os; os.environ['HF_ENDPOINT'] = 'http://127.0.0.1:1'\n"
        "from xpm_stream.errors import RegistryError\n"
        "from xpm_stream.registry.pulling import pull_checkpoint\n"
        "try: pull_checkpoint('hf://org/model')\n"
        "except RegistryError as error: print(error)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert answer.stdout.startswith("cannot read hf://org/model: ")
    assert "refused" in answer.stdout


@pytest.mark.skipif(importlib.util.find_spec("gcsfs") is not None, reason="gcsfs is installed")
def test_a_missing_package_is_named_as_pip_knows_it() -> None:
    with pytest.raises(RegistryError, match=r"gs://bucket/run needs a package .*pip install gcsfs"):
        pull_checkpoint("gs://bucket/run")


def test_a_place_that_is_forgotten_or_holds_a_revision_is_told(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="no place is named"):
        pull_checkpoint("")
    with pytest.raises(RegistryError, match=r"revision '3' is said by itself"):
        pull_checkpoint(f"{tmp_path}@3")
