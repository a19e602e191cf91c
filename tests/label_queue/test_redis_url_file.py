"""`redis.url: file:///PATH`: the URL, with its password, stands in a file (a secret of Docker or Kubernetes)."""

from __future__ import annotations

from pathlib import Path

import pytest
from queue_examples import opened, shard

from xpm_stream.errors import ConfigError
from xpm_stream.label_queue import EmbeddedServer


def test_the_queue_opens_at_the_url_that_the_file_holds(server: EmbeddedServer, namespace: str, tmp_path: Path) -> None:
    secret = tmp_path / "redis_url"
    secret.write_text(f"{server.url}\n")
    with opened(f"file://{secret}", namespace) as queue:
        assert queue.add_shards([shard("a")]) == 1


def test_what_the_file_holds_is_checked_like_any_url_and_not_shown(tmp_path: Path) -> None:
    secret = tmp_path / "redis_url"
    secret.write_text("redis://:hunter2@host:port:6/0")
    with pytest.raises(ConfigError) as caught:
        opened(f"file://{secret}", "t")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "why"), [(None, "cannot be read"), ("\n", "is empty"), (b"\xff\xfe", "not a text")]
)
def test_a_file_without_a_url_is_named(content: str | bytes | None, why: str, tmp_path: Path) -> None:
    secret = tmp_path / "redis_url"
    if content is not None:
        secret.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=f"{secret}.*{why}"):
        opened(f"file://{secret}", "t")
