"""A process that stalls says where it stands and ends; one that works is left alone."""

from __future__ import annotations

import subprocess
import sys
import urllib.error
import urllib.request

from redis_servers import until

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


TOLD_TO_STOP = """
import threading
from xpm_stream.stages.watchdog import Watchdog
stop = threading.Event()
def stuck_here():
    threading.Event().wait()
with Watchdog(timeout_s=3600, stop=stop, stop_timeout_s=0.4) as watchdog:
    watchdog.progress("fetching images")
    stop.set()
    stuck_here()
"""


def test_a_process_that_was_told_to_stop_and_cannot_is_ended_and_says_where() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", TOLD_TO_STOP], check=False, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == EXIT_STALLED
    assert "in stuck_here" in ended.stderr
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("error: told to stop, and still there 0 s later, at: fetching images")
    assert "nothing is lost" in last
    assert "stop_timeout_s" in last


# Nobody reads its standard output or error, as when the terminal, or the process that collects logs, is frozen.
UNREAD = """
import os, sys, threading
from xpm_stream.monitoring.metrics import Metrics
from xpm_stream.monitoring.serving import Health, serve_metrics
from xpm_stream.stages import watchdog as module
module._SAYING_S = {saying_s}
_, writer = os.pipe()
os.set_blocking(writer, False)
try:
    while True:
        os.write(writer, bytes(4096))
except BlockingIOError:
    os.set_blocking(writer, True)
with module.Watchdog(timeout_s=0.3) as watchdog:
    health = Health(liveness=lambda: [stalled] if (stalled := watchdog.stalled()) else [])
    with serve_metrics(Metrics("labeler"), health=health) as server:
        print(server.endpoint.url, flush=True)
        os.dup2(writer, {unread})
        watchdog.progress("waiting for a lock")
        threading.Event().wait()
"""


def test_a_stalled_process_ends_though_nobody_reads_what_it_says() -> None:
    program = UNREAD.format(saying_s=0.5, unread=2)
    ended = subprocess.run([sys.executable, "-c", program], check=False, stdout=subprocess.DEVNULL, timeout=120)
    assert ended.returncode == 1, "ended by the last resort"


def test_a_stalled_process_that_does_not_end_is_not_alive() -> None:
    program = UNREAD.format(saying_s=3600, unread=1)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            until(lambda: "no progress for" in _body(f"{url}/healthz"), what="a process that is not alive")
            assert "at: waiting for a lock" in _body(f"{url}/healthz")
            assert _body(f"{url}/readyz").startswith('{"status": "ready"'), "readiness is another question"
        finally:
            process.kill()


def test_a_watchdog_that_does_not_run_is_noticed() -> None:
    watchdog = Watchdog(timeout_s=60)
    assert watchdog.stalled() == "the watchdog is not running"
    with watchdog:
        assert watchdog.stalled() is None


def _body(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return error.read().decode()
