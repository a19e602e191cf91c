"""Logs: lines machines and people can read, exceptions once, passwords never. Each case is a process of its own."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpm_stream.monitoring.logs import mask_secrets

PROGRAM = """
import logging, sys, warnings
from xpm_stream.monitoring.logs import configure_logging
arguments = eval(sys.argv[1])
log = configure_logging("labeler", **arguments)
log.debug("hidden")
log.info("teacher loaded", teacher=3, url="redis://user:hunter2@queue:6379/0")
log.info("nested", redis={"password": "hunter2", "urls": ["redis://:hunter2@queue"]}, token=5)
logging.getLogger("redis").warning("cannot reach %s", "rediss://:hunter2@queue/0")
warnings.warn("old thing")
password = "hunter2"
try:
    raise RuntimeError("connecting to redis://:hunter2@queue failed")
except RuntimeError:
    log.exception("lost redis", password=password)
"""


def run(arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, arguments], capture_output=True, text=True, check=True, timeout=60
    )


def test_without_a_terminal_each_line_is_json_with_role_and_pid() -> None:
    lines = [json.loads(line) for line in run("{}").stderr.splitlines()]
    assert [line["level"] for line in lines] == ["info", "info", "warning", "warning", "error"]
    assert {line["role"] for line in lines} == {"labeler"}
    assert len({line["pid"] for line in lines}) == 1
    assert (lines[0]["message"], lines[0]["teacher"]) == ("teacher loaded", 3)
    assert (lines[1]["redis"], lines[1]["token"]) == ({"password": "***", "urls": ["redis://:***@queue"]}, 5)
    assert lines[2]["message"] == "cannot reach rediss://:***@queue/0"
    assert "old thing" in lines[3]["message"]
    assert lines[0]["timestamp"].endswith("Z")


@pytest.mark.parametrize("console", ["human", "json"])
def test_exceptions_appear_once_and_passwords_never(console: str, tmp_path: Path) -> None:
    error = run(f"{{'console': '{console}', 'run_folder': {str(tmp_path)!r}}}").stderr
    file = (tmp_path / "logs" / "labeler.jsonl").read_text(encoding="utf-8")
    for output in (error, file):
        assert output.count("Traceback (most recent call last)") == 1
        assert output.count("RuntimeError: connecting") == 1
        assert "hunter2" not in output
        assert "***" in output
    assert all(json.loads(line)["message"] for line in file.splitlines())


def test_the_level_is_an_argument_and_the_console_can_be_off(tmp_path: Path) -> None:
    result = run(f"{{'console': 'off', 'level': 'error', 'run_folder': {str(tmp_path)!r}}}")
    assert result.stderr == ""
    lines = (tmp_path / "logs" / "labeler.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["message"] for line in lines] == ["lost redis"]
    assert '"hidden"' in run("{'level': 'debug'}").stderr


def test_a_terminal_gets_readable_lines() -> None:
    leader, follower = pty.openpty()
    subprocess.run([sys.executable, "-c", PROGRAM, "{}"], stderr=follower, check=True, timeout=60)
    os.close(follower)
    output = b""
    try:
        while chunk := os.read(leader, 65536):
            output += chunk
    except OSError:
        pass  # how a terminal says that nobody writes to it any more
    finally:
        os.close(leader)
    assert b"teacher loaded" in output
    assert b'"message"' not in output
    assert b"hunter2" not in output


def test_a_log_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, f"{{'run_folder': {str(tmp_path)!r}}}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ConfigError: cannot open log file" in result.stderr


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("redis://:pw@host:1/0", "redis://:***@host:1/0"),
        ("rediss://me:p@s/s@host", "rediss://me:***@host"),
        ("unix:///run/redis.sock?password=pw&db=1", "unix:///run/redis.sock?password=***&db=1"),
        ('{"redis_password": "a b", "n": 1}', '{"redis_password": ***, "n": 1}'),
        ("requirepass pw", "requirepass ***"),
        ("AWS_SECRET=abc, next", "AWS_SECRET=***, next"),
        ("lease token=5 expired", "lease token=5 expired"),
        ("redis://host:6379/0 and me@home", "redis://host:6379/0 and me@home"),
        ("s3://bucket/key", "s3://bucket/key"),
    ],
)
def test_secrets_are_masked_and_nothing_else(text: str, masked: str) -> None:
    assert mask_secrets(text) == masked
    assert mask_secrets(masked) == masked


@given(st.text(st.characters(exclude_characters="\"' \\*", categories=["L", "N", "P", "S"]), min_size=6))
def test_no_password_of_a_url_survives(password: str) -> None:
    masked = mask_secrets(f"before redis://user:{password}@host.example:6379/0 after")
    assert masked == "before redis://user:***@host.example:6379/0 after"
