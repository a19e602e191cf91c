"""`xpm-stream status`: in a terminal of 80 columns, piped, as JSON; while a run lives, when parts of it are gone."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from asking import Ask, Refused
from sample_runs import history, make_run, window, write_windows

from xpm_stream.label_queue import connect
from xpm_stream.monitoring.metrics import Metrics
from xpm_stream.monitoring.serving import Health, read_endpoints, serve_metrics

DEADLINE_S = 60.0
COMMAND = [sys.executable, "-m", "xpm_stream.cli.main", "status"]
ROLE = """
import sys, time
from xpm_stream.monitoring.metrics import Metrics
from xpm_stream.monitoring.serving import serve_metrics
serve_metrics(Metrics(sys.argv[1]), run_folder=sys.argv[2])
time.sleep(600)
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    make_run(tmp_path / "run", records=[*history(12), window(13, ratio=0.4)])
    return tmp_path / "run"


@pytest.fixture
def living(run: Path) -> Iterator[Path]:
    """The run with all its roles at work: this process answers for them, and holds the queue."""
    from xpm_stream.config import config_of_run

    config = config_of_run(run)
    with ExitStack() as stack:
        stack.enter_context(connect(config.redis, config.queue, run_folder=run))
        for role in ("trainer", "promoter", "monitor"):
            # One process has one endpoint file for each role.
            stack.enter_context(serve_metrics(Metrics(role), run_folder=run))  # type: ignore[arg-type]
        stack.enter_context(serve_metrics(Metrics("labeler"), run_folder=run))
        yield run


def in_terminal(*arguments: object, columns: int = 80, until: str | None = None) -> tuple[int, str]:
    """Run the command in a real terminal; with `until`, interrupt it once it has said that twice."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 60, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"} | {"COLUMNS": "", "NO_COLOR": ""}
    environment = {name: value for name, value in environment.items() if value}
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stdin=child, stdout=child, stderr=child, env=environment, close_fds=True
    )
    os.close(child)
    said, deadline = b"", time.monotonic() + DEADLINE_S
    interrupted = False
    while time.monotonic() < deadline:
        try:
            piece = os.read(parent, 65536)
        except OSError:  # the other end is closed: it has ended
            break
        if not piece:
            break
        said += piece
        if until is not None and not interrupted and said.decode(errors="replace").count(until) >= 2:
            process.send_signal(signal.SIGINT)
            interrupted = True
    os.close(parent)
    return process.wait(DEADLINE_S), said.decode()


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


def facts(answer: str) -> dict[str, object]:
    found = json.loads(answer)
    assert isinstance(found, dict)
    return found


def killed_role(role: str, run: Path) -> int:
    """Start a real process that serves a role's endpoint, and kill it: its file stays."""
    process = subprocess.Popen([sys.executable, "-c", ROLE, role, str(run)])
    deadline = time.monotonic() + DEADLINE_S
    while process.pid not in {endpoint.pid for endpoint in read_endpoints(run)}:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    return process.pid


def test_a_healthy_run_says_so_with_exit_status_0(ask: Ask, living: Path) -> None:
    answer = ask("status", living)
    assert answer.status == 0, answer.out
    for said in (
        "sample  xpm  running",
        "healthy: nothing needs a person",
        "trainer   ready",
        "10 of 4,096 labels unacknowledged",
        "25 labels made · 15 acknowledged",
        "1 of 2 finished · 0 leased · 1 pending",
        "v4  step 1,500",
        "failed canary_agreement",
        "window 13, 500 labels",
        "brake off",
        "1 dead letter",
    ):
        assert said in answer.out, said


def test_in_a_terminal_of_80_columns_no_line_is_wider_and_colours_are_used(living: Path) -> None:
    status, said = in_terminal(living)
    assert status == 0
    assert "\x1b[" in said
    lines = plain(said).splitlines()
    assert max(map(len, lines)) <= 80
    assert sum("gates" in line for line in lines) >= 3


def test_piped_there_is_no_escape_code_and_80_columns_hold(living: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    answer = subprocess.run([*COMMAND, living], capture_output=True, timeout=DEADLINE_S, env=environment, check=False)
    assert answer.returncode == 0
    assert b"\x1b" not in answer.stdout
    assert max(map(len, answer.stdout.decode().splitlines())) <= 80


def test_json_tells_scripts_the_same(ask: Ask, living: Path) -> None:
    answer = ask("status", living, "--json")
    assert answer.status == 0
    found = facts(answer.out)
    assert found["schema_version"] == 1
    assert found["healthy"] is True
    assert found["phase"] == "running"
    assert found["champion"] == 4
    assert sorted(role["role"] for role in found["roles"]) == ["labeler", "monitor", "promoter", "trainer"]  # type: ignore[attr-defined]
    assert {role["state"] for role in found["roles"]} == {"ready"}  # type: ignore[attr-defined]
    assert found["queue"]["kind"] == "queue"  # type: ignore[index]
    assert found["queue"]["unacked_labels"] == 10  # type: ignore[index]
    assert found["queue"]["labels_committed"] == 25  # type: ignore[index]
    assert [entry["action"] for entry in found["promotions"]] == ["promote", "promote", "refuse", "promote"]  # type: ignore[attr-defined]
    assert found["promotions"][2]["gates"][2] == {  # type: ignore[index]
        "gate": "canary_agreement",
        "outcome": "fail",
        "value": 0.04,
        "limit": 0.1,
        "why": "too little agreement",
    }
    assert found["last_window"]["number"] == 13  # type: ignore[index]
    medians = found["median_reliability"]
    assert isinstance(medians, list)
    assert len(medians) == 13
    assert medians[-1] == 0.6


def test_a_killed_role_is_named_until_another_takes_its_place(ask: Ask, living: Path) -> None:
    pid = killed_role("labeler", living)
    answer = ask("status", living)
    assert answer.status == 1
    assert f"labeler (pid {pid}) was killed and is not back" in answer.out
    with serve_metrics(Metrics("labeler"), run_folder=living):  # writes its endpoint anew, with a later start
        assert ask("status", living).status == 0


def test_a_role_that_is_not_ready_says_why(ask: Ask, living: Path) -> None:
    health = Health(readiness=lambda: ["Redis does not answer"])
    with serve_metrics(Metrics("labeler"), run_folder=living, health=health):
        answer = ask("status", living)
    assert answer.status == 0, "it has only just begun"
    assert "labeler   not ready" in answer.out
    assert "Redis does not answer" in answer.out


def test_a_stopped_run_needs_a_person_and_its_queue_is_seen_all_the_same(ask: Ask, run: Path) -> None:
    answer = ask("status", run)
    assert answer.status == 1
    assert "nothing works on this run, and it is not finished" in answer.out
    assert "10 of 4,096 labels unacknowledged" in answer.out
    assert not (run / "redis" / "endpoint.json").exists(), "the server that was started to look is gone again"


def test_a_finished_run_is_healthy(ask: Ask, run: Path) -> None:
    (run / "summary.json").write_text("{}")
    answer = ask("status", run)
    assert answer.status == 0
    assert "sample  xpm  finished" in answer.out


def test_redis_that_is_away_needs_a_person_and_the_rest_is_told(ask: Ask, tmp_path: Path) -> None:
    make_run(tmp_path / "run", queue=False, redis={"url": "redis://127.0.0.1:1", "retry_for_s": 0.5})
    answer = ask("status", tmp_path / "run")
    assert answer.status == 1
    assert "127.0.0.1:1" in answer.out
    assert "not known without the queue" in answer.out
    assert "v4  step 1,500" in answer.out
    found = facts(ask("status", tmp_path / "run", "--json").out)
    assert found["queue"]["kind"] == "absent"  # type: ignore[index]
    assert found["healthy"] is False


def test_the_brake_needs_a_person(ask: Ask, living: Path) -> None:
    write_windows(living / "registry", [window(14, ratio=2.5, brake=True)])
    answer = ask("status", living)
    assert answer.status == 1
    assert "drift holds promotions back" in answer.out
    assert "brake on: nothing is promoted" in answer.out
    assert re.search(r"frozen +drift +reliability 2.50 × threshold", answer.out)
    assert "cause: data" in answer.out


def test_watching_looks_again_until_it_is_interrupted(living: Path) -> None:
    status, said = in_terminal(living, "--watch", "--every", 0.5, until="labels unacknowledged")
    assert status == 0
    assert plain(said).count("labels unacknowledged") >= 2


def test_a_folder_that_is_no_run_is_refused(refused: Refused, tmp_path: Path) -> None:
    assert f"{tmp_path} is no run folder: it has no config.yaml" in refused("status", tmp_path)
    assert "give one of them" in refused("status", tmp_path, "--watch", "--json")


def test_a_run_that_has_not_begun_is_no_reason_to_call_anyone(ask: Ask, folder: Path) -> None:
    answer = ask("status", folder)
    assert answer.status == 0
    assert "not begun" in answer.out
    assert "no drift window is recorded" in answer.out
    assert not (folder / "redis").exists()
