"""docs/security.md: its commands and settings work, its limits are the code's, its tests exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import redis
from redis_servers import free_ports, has_tls, newest_server, until

from xpm_stream.config import RunConfig
from xpm_stream.config.loading import parse_config
from xpm_stream.data import base_set, shard_urls, storage, tar_members, tar_reading
from xpm_stream.errors import QueueRefused
from xpm_stream.label_queue import codec, connect
from xpm_stream.registry import store

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "security.md").read_text(encoding="utf-8")
USERS = "user default off\nuser labeler on >secret ~{xpm}:* +@all\n"
BLOCKS = [
    "\n".join(line.removeprefix("   ") for line in block.splitlines())
    for block in re.findall(r"```\w*\n(.*?)```", PAGE, re.DOTALL)
]


def test_every_test_that_the_page_names_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)
    assert len(named) > 15
    for path, function in named:
        source = (REPOSITORY / path).read_text(encoding="utf-8")
        assert not function or f"def {function}(" in source, (path, function)


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("20 MB | `data.max_image_bytes`", RunConfig().data.max_image_bytes == 20_000_000),
        ("50 million pixels | `data.max_image_pixels`", RunConfig().data.max_image_pixels == 50_000_000),
        ("1 MiB | `MAX_TEXT_BYTES`", tar_reading.MAX_TEXT_BYTES == 1 << 20),
        ("16, 4096 |", (RunConfig().data.max_captions, RunConfig().data.max_caption_chars) == (16, 4096)),
        ("16; 1 MiB |", (tar_members.MAX_EXTENDED_HEADERS, tar_members.MAX_EXTENDED_HEADER) == (16, 1 << 20)),
        ("1,000,000 | `MAX_EXPANDED`", shard_urls.MAX_EXPANDED == 1_000_000),
        ("16 MiB | `MAX_TEXT_FILE_BYTES`", storage.MAX_TEXT_FILE_BYTES == 16 << 20),
        ("8 GiB | `MAX_ANNOTATIONS_BYTES`", storage.MAX_ANNOTATIONS_BYTES == 8 << 30),
        ("256 MiB, 50 million pixels | `MAX_IMAGE_BYTES`", base_set.MAX_IMAGE_BYTES == 256 << 20),
        ("64 MiB | `MAX_MESSAGE_BYTES`", codec.MAX_MESSAGE_BYTES == 64 << 20),
        ("4096, 256 MiB |", (RunConfig().queue.max_unacked_labels, RunConfig().queue.max_unacked_mb) == (4096, 256)),
        ("50,000 | `text.max_vocabulary`", RunConfig().text.max_vocabulary == 50_000),
        ("64 MiB | `MAX_RECORD_BYTES`", store.MAX_RECORD_BYTES == 64 << 20),
        ("1 GiB | `MAX_READ_BYTES`", store.MAX_READ_BYTES == 1 << 30),
    ],
)
def test_a_limit_of_the_page_is_that_of_the_code(cell: str, value: bool) -> None:
    assert cell in PAGE
    assert value


def test_the_pages_certificates_and_settings_make_a_redis_that_roles_reach(tmp_path: Path) -> None:
    binary = newest_server()
    if not has_tls(binary):
        pytest.skip(f"{binary} is built without TLS")
    (commands,) = [block for block in BLOCKS if block.startswith("openssl req")]
    (settings,) = [block for block in BLOCKS if "tls-port 6380" in block]
    (url,) = [block.strip() for block in BLOCKS if block.startswith("rediss://")]
    subprocess.run(["sh", "-e", "-c", commands], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    (tmp_path / "users.acl").write_text(USERS)
    port = free_ports()[0]
    (tmp_path / "redis.conf").write_text(settings.replace("6380", str(port)))
    server = subprocess.Popen(
        [str(binary), "redis.conf"], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = url.replace("6380", str(port)).replace("/etc/xpm", str(tmp_path)).replace("PASSWORD", "secret")
    try:
        client = redis.Redis.from_url(url)
        until(lambda: _answers(client), what="a Redis that speaks TLS")
        client.close()
        with connect(_redis(url), RunConfig().queue, run_folder=tmp_path) as queue:
            assert queue.ping()
        with pytest.raises(QueueRefused, match="refuses the user or password"):
            connect(_redis(url.replace("secret", "guess")), RunConfig().queue, run_folder=tmp_path)
    finally:
        server.kill()
        server.wait()


def _redis(url: str):  # type: ignore[no-untyped-def]
    return parse_config({"redis": {"url": url, "retry_for_s": 5.0}}, source="test").redis


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.exceptions.ConnectionError:
        return False
