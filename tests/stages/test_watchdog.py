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
