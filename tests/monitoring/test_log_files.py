"""Log files that stay small for months: nothing is lost when a new one begins, and no two processes share one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

from redis_servers import until

WRITER = """
import sys
from xpm_stream.monitoring.log_files import Rotation
from xpm_stream.monitoring.logs import configure_logging
folder, keep, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rotation = Rotation(max_bytes=20_000, keep=keep)
log = configure_logging("labeler-0", run_folder=folder, rotation=rotation, console="off")
for number in range(count):
    log.info("x" * 100, number=number)
print("written", flush=True)
sys.stdin.read()
"""


def start(folder: Path, *, keep: int, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), str(keep), str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def ends(process: subprocess.Popen[str]) -> None:
    process.communicate(timeout=60)
    assert process.returncode == 0


def numbers(*paths: Path) -> list[int]:
    return [json.loads(line)["number"] for path in paths for line in path.read_text().splitlines()]


def oldest_first(folder: Path, name: str) -> list[Path]:
    return sorted(
        folder.glob(f"logs/{name}*"), key=lambda path: -int(path.suffix[1:]) if path.suffix[1:].isdigit() else 1
    )


def test_every_line_is_in_one_of_the_files_once_and_in_order(tmp_path: Path) -> None:
    ends(start(tmp_path, keep=1000, count=2000))
    files = oldest_first(tmp_path, "labeler-0.jsonl")
    assert len(files) > 10
    assert max(path.stat().st_size for path in files) <= 20_000
    assert numbers(*files) == list(range(2000))


def test_only_the_newest_files_are_kept_over_restarts_too(tmp_path: Path) -> None:
    for _ in range(3):
        ends(start(tmp_path, keep=2, count=500))
        files = oldest_first(tmp_path, "labeler-0.jsonl")
        assert [path.name for path in files] == ["labeler-0.jsonl.2", "labeler-0.jsonl.1", "labeler-0.jsonl"]
        kept = numbers(*files)
        assert kept == list(range(500))[-len(kept) :], "not the newest, or not all of them"


def test_a_second_process_of_a_name_writes_a_file_of_its_own(tmp_path: Path) -> None:
    both = [start(tmp_path, keep=1000, count=600) for _ in range(2)]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
    for process in both:
        ends(process)
    own = [oldest_first(tmp_path, f"labeler-0.{process.pid}.jsonl") for process in both]
    (other,) = (files for files in own if files)
    assert numbers(*other) == list(range(600))
    assert numbers(*oldest_first(tmp_path, "labeler-0.jsonl")) == list(range(600))


def test_the_name_of_a_killed_process_is_free_again(tmp_path: Path) -> None:
    killed = start(tmp_path, keep=1000, count=3)
    assert killed.stdout is not None
    assert killed.stdout.readline() == "written\n"
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=60)
    ends(start(tmp_path, keep=1000, count=3))
    assert numbers(tmp_path / "logs" / "labeler-0.jsonl") == [0, 1, 2, 0, 1, 2]


# A thread prints past Python's logging, as a C library would, while the main thread logs.
PRINTING = """
import os, sys, threading
from xpm_stream.monitoring.log_files import Rotation
from xpm_stream.monitoring.logs import configure_logging
log = configure_logging("trainer", run_folder=sys.argv[1], rotation=Rotation(max_bytes=20_000, keep=1000))
def warn():
    for number in range(2000):
        os.write(1 + number % 2, b'{"padding": "%s", "number": %d}\\n' % (b"-" * 300, 10_000 + number))
        turn.acquire(timeout=60)
turn = threading.Semaphore(100)  # it may be so far ahead of the log
thread = threading.Thread(target=warn)
thread.start()
for number in range(2000):
    log.info("x" * 100, number=number)
    turn.release()
thread.join()
"""


def test_what_a_process_prints_is_bounded_and_whole(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    output = tmp_path / "logs" / "trainer.out"
    with output.open("ab") as sink:
        process = subprocess.Popen([sys.executable, "-c", PRINTING, str(tmp_path)], stdout=sink, stderr=sink)
    until(lambda: process.poll() is not None, what="the end of the process", within_s=60)
    assert process.returncode == 0, output.read_text()[-2000:]
    files = oldest_first(tmp_path, "trainer.out")
    assert len(files) > 10
    assert max(path.stat().st_size for path in files) < 80_000, "a file went on growing behind its handler's back"
    found = numbers(*files)
    assert [number for number in found if number < 10_000] == list(range(2000))
    assert sorted(number for number in found if number >= 10_000) == list(range(10_000, 12_000))
