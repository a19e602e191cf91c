"""The processes that `up` starts: what they said last, how they are stopped, and that none outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from xpm_stream.stages.children import Child, RoleError, start_role, stop_in_order

Start = Callable[..., Child]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started = []

    def start_one(name: str, *arguments: str) -> Child:
        started.append(start_role(name, arguments, logs=tmp_path / "logs"))
        return started[-1]

    yield start_one
    for child in started:
        child.kill()


@pytest.fixture
def waiting_config(tmp_path: Path) -> Path:
    """A configuration whose roles wait for a Redis that is not there."""
    path = tmp_path / "run.yaml"
    path.write_text(
        f"folder: {tmp_path / 'run'}\nredis: {{url: 'unix://{tmp_path / 'none.sock'}', retry_for_s: 3600}}\n"
        "metrics: {enabled: false}\n"
    )
    return path


def _until(condition: Callable[[], bool], *, within_s: float = 120) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.02)


def _is_waiting(child: Child) -> Callable[[], bool]:
    return lambda: "waiting for Redis" in child.output.read_text()


def test_a_process_that_ends_well_is_done(start: Start) -> None:
    child = start("nouns", "lexicon", "nouns", "a cat on a mat")
    assert child.wait(120)
    assert child.check()
    assert child.output.read_text() == "cat, mat\n"
    assert child.seconds > 0


def test_a_failure_is_told_in_the_words_of_its_error(start: Start, tmp_path: Path) -> None:
    child = start("audit", "audit", str(tmp_path / "[none]"))
    assert child.wait(120)
    with pytest.raises(RoleError) as failed:
        child.check()
    said = str(failed.value)
    assert said.startswith(f"audit: there is no run folder {tmp_path}/[none]")
    assert str(child.output) in said


def test_only_the_error_is_shown_not_the_log_before_it(start: Start, tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(
        f"folder: {tmp_path / 'run'}\nredis: {{url: 'unix://{tmp_path / 'none.sock'}', retry_for_s: 0.3}}\n"
        "metrics: {enabled: false}\n"
    )
    child = start("promoter", "promote", str(config))
    assert child.wait(120)
    assert child.output.read_text().startswith("{")
    with pytest.raises(RoleError, match=r"^promoter: connecting: Redis at .* cannot be reached") as failed:
        child.check()
    assert "{" not in str(failed.value)


def test_the_last_words_are_those_of_this_process_not_of_an_earlier_one(
    start: Start, tmp_path: Path, waiting_config: Path
) -> None:
    assert start("promoter", "audit", str(tmp_path / "earlier")).wait(120)
    second = start("promoter", "promote", str(waiting_config))
    _until(_is_waiting(second))
    second.kill()
    words, is_error = second.last_words()
    assert not is_error
    assert "waiting for Redis" in words
    assert "earlier" not in words


def test_a_killed_process_is_told_with_its_signal_and_readable_lines(start: Start, waiting_config: Path) -> None:
    child = start("promoter", "promote", str(waiting_config))
    _until(_is_waiting(child))
    child.process.kill()
    assert child.wait(120)
    with pytest.raises(RoleError, match="promoter was killed by SIGKILL") as failed:
        child.check()
    last = str(failed.value).splitlines()[-1]
    assert last.startswith("warning: waiting for Redis doing=connecting")


def test_roles_are_stopped_one_after_the_other(start: Start, waiting_config: Path) -> None:
    children = [start(name, "promote", str(waiting_config)) for name in ("a", "b")]
    for child in children:
        _until(_is_waiting(child))
    assert stop_in_order(children, grace_s=120) == []
    first, second = (child.ended_at_s for child in children)
    assert first is not None
    assert second is not None
    assert first <= second


def test_a_role_that_does_not_stop_in_time_is_killed(start: Start, waiting_config: Path) -> None:
    child = start("promoter", "promote", str(waiting_config))
    _until(_is_waiting(child))
    child.process.send_signal(signal.SIGSTOP)
    assert stop_in_order([child], grace_s=0.2) == ["promoter"]
    assert child.process.returncode == -signal.SIGKILL


def test_interrupted_while_stopping_all_are_killed(start: Start, waiting_config: Path) -> None:
    children = [start(name, "promote", str(waiting_config)) for name in ("a", "b")]
    for child in children:
        _until(_is_waiting(child))
    children[0].process.send_signal(signal.SIGSTOP)  # it will not leave by itself

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt):
            stop_in_order(children, grace_s=120)
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert [child.process.returncode for child in children] == [-signal.SIGKILL] * 2


def test_no_role_outlives_a_killed_parent(tmp_path: Path, waiting_config: Path) -> None:
    program = f"""
import time
from pathlib import Path
from xpm_stream.stages.children import start_role
child = start_role("promoter", ["promote", {str(waiting_config)!r}], logs=Path({str(tmp_path / "logs")!r}))
print(child.process.pid, flush=True)
time.sleep(3600)
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent, parent.stdout:
        child = psutil.Process(int(parent.stdout.readline()))
        output = tmp_path / "logs" / "promoter.out"
        _until(lambda: "waiting for Redis" in output.read_text())
        os.kill(parent.pid, signal.SIGKILL)
    try:
        _until(lambda: not child.is_running())
    finally:
        if child.is_running():
            child.kill()


def test_a_failure_is_told_in_its_words_though_the_output_was_full_and_began_anew(start: Start, tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(
        f"folder: {tmp_path}\nredis: {{url: 'unix://{tmp_path / 'none.sock'}', retry_for_s: 0.5}}\n"
        "metrics: {enabled: false}\nlogs: {max_mb: 1, keep: 1}\n"
    )
    (tmp_path / "logs").mkdir()
    earlier = "what an earlier process said\n" * 40_000
    (tmp_path / "logs" / "promoter.out").write_text(earlier)
    child = start("promoter", "promote", str(config))
    assert child.wait(120)
    with pytest.raises(RoleError, match=r"promoter: connecting: Redis at unix://.*cannot be reached") as failed:
        child.check()
    assert "earlier" not in str(failed.value)
    assert (tmp_path / "logs" / "promoter.out.1").read_text().startswith(earlier)
    assert "waiting for Redis" in child.output.read_text()
