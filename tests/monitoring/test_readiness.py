"""Readiness asked of a process whose Redis is frozen: answered within a bounded time, by probe and scrape alike."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from redis_servers import PASSWORD, RedisServer, newest_server, until

from xpm_stream.config.loading import parse_config
from xpm_stream.monitoring.readiness import Bounded, Readiness
from xpm_stream.monitoring.serving import read_endpoints
from xpm_stream.stages.process import open_queue, role_process

# Longer than Redis may take before a role calls it away (20 s here), shorter than a prober's own limit (10 s).
ANSWERED_S = 8.0


def get(url: str) -> tuple[int, str, float]:
    started = time.monotonic()
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, answer.read().decode(), time.monotonic() - started
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(), time.monotonic() - started


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(newest_server(), tmp_path / "redis", durable=False) as running:
        yield running


def test_a_frozen_redis_holds_up_neither_probe_nor_scrape(server: RedisServer, tmp_path: Path) -> None:
    tree = {
        "folder": str(tmp_path / "run"),
        "metrics": {"port": 0},
        "redis": {"url": f"redis://:{PASSWORD}@127.0.0.1:{server.port}/0", "connect_timeout_s": 20.0},
    }
    config = parse_config(tree, source="test")
    with role_process("promoter", kind="promoter", config=config) as role, open_queue(role):
        url = read_endpoints(tmp_path / "run")[0].url
        assert get(f"{url}/readyz")[:2] == (200, '{"status": "ready", "reasons": []}\n')
        server.freeze()
        took: list[float] = []

        def answered(path: str) -> tuple[int, str]:
            status, body, seconds = get(f"{url}/{path}")
            took.append(seconds)
            return status, body

        until(lambda: answered("readyz")[0] == 503, what="an unready role")
        with ThreadPoolExecutor(4) as pool:
            paths = ["readyz", "metrics", "healthz", "readyz"]
            answers = dict(zip(paths, pool.map(answered, paths), strict=True))
        assert max(took) < ANSWERED_S
        assert answers["readyz"] == (503, '{"status": "not ready", "reasons": ["Redis does not answer"]}\n')
        assert "\nxpm_ready 0.0\n" in answers["metrics"][1]
        assert answers["healthz"][0] == 200, "nobody is to restart a role because its Redis is frozen"
        server.thaw()
        until(lambda: get(f"{url}/readyz")[0] == 200, what="a ready role")
        assert "\nxpm_ready 1.0\n" in get(f"{url}/metrics")[1]


def test_a_check_that_hangs_is_asked_by_one_thread_and_answered_at_once() -> None:
    hangs, asked = threading.Event(), []

    def check() -> str | None:
        asked.append(threading.current_thread())
        hangs.wait()
        return None

    bounded = Bounded(check, late="it does not answer", patience_s=0.2)
    assert bounded() == "it does not answer"
    started = time.monotonic()
    assert {bounded() for _ in range(50)} == {"it does not answer"}
    assert time.monotonic() - started < 5, "it waited again for a thread that was late already"
    assert len(asked) == 1
    hangs.set()
    asked[0].join()
    assert bounded() is None, "it keeps a late answer"


def test_looks_are_shared_for_a_while_and_checks_may_come_later() -> None:
    looked: list[int] = []
    checks = [lambda: looked.append(1)]
    shared = Readiness(checks, fresh_s=3600)
    assert shared.reasons() == shared.reasons() == []
    assert len(looked) == 1
    always = Readiness(checks, fresh_s=0)
    checks.append(lambda: "no teacher")  # type: ignore[arg-type]
    assert always.reasons() == ["no teacher"]
