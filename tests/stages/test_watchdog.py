"""A process that stalls says where it stands and ends; one that works is left alone."""

from __future__ import annotations

import subprocess
import sys

from xpm_stream.stages.watchdog import EXIT_STALLED, Watchdog

STALLING = """
import threading
from xpm_stream.stages.watchdog import Watchdog
def stuck_here():
    threading.Event().wait()
with Watchdog(timeout_s=0.2) as watchdog:
    watchdog.progress("waiting for a lock")
    stuck_here()
"""


def test_a_stalled_process_exits_75_and_says_where() -> None:
    ended = subprocess.run([sys.executable, "-c", STALLING], check=False, capture_output=True, text=True, timeout=120)
    assert ended.returncode == EXIT_STALLED == 75
    assert "in stuck_here" in ended.stderr
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("error: no progress for 0 s at: waiting for a lock")
    assert "stall_timeout_s" in last


def test_a_process_that_ends_in_time_is_left_alone() -> None:
    with Watchdog(timeout_s=60) as watchdog:
        watchdog.progress("working")


TWO_THREADS = """
import threading
from xpm_stream.stages.prefetch import Prefetched
from xpm_stream.stages.watchdog import Watchdog
stuck = threading.Event()
def load():
    yield 1
    while True:
        watchdog.progress("fetching images")
        {loader}
        yield 1
with Watchdog(timeout_s=0.5) as watchdog:
    with Prefetched(load, depth=2, name="label feed", watchdog=watchdog) as items:
        for item in items:
            watchdog.progress("step 7")
            {trainer}
"""


def _stall(*, loader: str = "stuck.wait(0.05)", trainer: str = "stuck.wait(0.05)") -> str:
    program = TWO_THREADS.format(loader=loader, trainer=trainer)
    ended = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=120)
    assert ended.returncode == EXIT_STALLED, ended.stderr
    return ended.stderr.strip().splitlines()[-1]


def test_a_stuck_loader_is_noticed_at_its_place_though_the_trainer_only_waits_for_it() -> None:
    assert "at: fetching images (thread label feed)" in _stall(loader="stuck.wait()")


def test_a_stuck_trainer_is_noticed_at_its_place_though_the_loader_only_waits_for_room() -> None:
    assert "at: step 7 (every" in _stall(trainer="stuck.wait()")


def test_a_stuck_trainer_is_noticed_though_another_thread_goes_on() -> None:
    program = """
import threading
from xpm_stream.stages.watchdog import Watchdog
def busy():
    watchdog.watch("reading labels")
    while True:
        watchdog.progress("reading labels")
        threading.Event().wait(0.05)
with Watchdog(timeout_s=0.5) as watchdog:
    threading.Thread(target=busy, daemon=True).start()
    watchdog.progress("step 7")
    threading.Event().wait()
"""
    ended = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=120)
    assert ended.returncode == EXIT_STALLED
    assert "at: step 7 (every" in ended.stderr


def test_threads_that_end_or_never_asked_to_be_watched_stall_nothing() -> None:
    program = """
import threading, time
from xpm_stream.stages.watchdog import Watchdog
with Watchdog(timeout_s=0.4) as watchdog:
    for say in (watchdog.watch, watchdog.progress):
        thread = threading.Thread(target=say, args=("gone",))
        thread.start()
        thread.join()
    waiter = threading.Thread(target=lambda: (watchdog.progress("idle"), time.sleep(1.5)))
    waiter.start()
    while waiter.is_alive():
        watchdog.progress("working")
        time.sleep(0.02)
"""
    ended = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
