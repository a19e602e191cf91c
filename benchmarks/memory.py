"""Peak memory of each process of a short `xpm-stream up` run.

    python -m benchmarks.memory [--config FILE] [--set KEY=VALUE ...]

Resident set sizes are sampled from outside; they count pages that processes share (torch's libraries) in each of them.
The proportional set size of the whole run shares them out, so that its sum is what the machine must have.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import psutil
import yaml

from benchmarks.figures import Figure, Goal, print_figures

SAMPLE_EVERY_S: Final = 0.1
MEGABYTE: Final = 1e6
ROLES: Final = {
    "up": "up",
    "teach": "teacher",
    "label": "labeler",
    "train": "trainer",
    "promote": "promoter",
    "watch": "monitor",
    "evaluate": "evaluation",
    "show": "pictures",
}
SHORT_RUN: Final = {
    "name": "memory",
    "prepare": {"synthetic": {"preset": "tiny", "settings": {"caption_images": 96}}},
    "model": {
        "backbone": "small",
        "image_size": 96,
        "max_image_size": 128,
        "num_proposals": 40,
        "num_rois": 64,
        "roi_sampling_ratio": 1,
    },
    "teacher": {"steps": 6},
    "optimiser": {"warmup_steps": 2},
    "labeler": {"workers": 2, "threads": 1},
    "trainer": {"threads": 1, "checkpoint_every_steps": 2, "schedule_steps": 12},
    "promotion": {"every_steps": 4},
    "evaluation": {"threads": 1},
    "metrics": {"port": 0},
}


class RunFailed(RuntimeError):
    """The run whose memory was to be measured ended with an error."""


def measure(*, config: Path | None = None, overrides: Sequence[str] = (), timeout_s: float = 1200) -> list[Figure]:
    """Run `xpm-stream up` in a folder of its own and watch its processes.

    Raises:
        RunFailed: it ended with an error, or took longer than `timeout_s`.
    """
    with tempfile.TemporaryDirectory(prefix="xpm-memory-") as folder:
        if config is None:
            config = Path(folder, "short.yaml")
            config.write_text(yaml.safe_dump(SHORT_RUN), encoding="utf-8")
        command = [sys.executable, "-m", "xpm_stream.cli.main", "up", str(config)]
        for override in (f"folder={folder}/run", *overrides):
            command += ["--set", override]
        output = Path(folder, "up.out")
        with output.open("wb") as sink:
            run = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT)
            try:
                peaks, together, seconds = _watch(run, timeout_s=timeout_s)
            finally:
                _end(run)
        if run.returncode != 0:
            tail = "\n".join(output.read_text("utf-8", "replace").splitlines()[-8:])
            raise RunFailed(f"{' '.join(command)} ended with {run.returncode}:\n{tail}")
    return _figures(peaks, together, what=f"{config.stem} run of {seconds:.0f} s")


def role_of(command_line: Sequence[str]) -> str | None:
    """The role of a process of a run, by its command line; none for workers that draw a corpus."""
    words = list(command_line)
    if words and Path(words[0]).name.startswith("redis-server"):
        return "redis"
    if any(word.endswith("redis_supervisor.py") for word in words):
        return "redis supervisor"
    if "xpm_stream.cli.main" not in words:
        return None
    after = words[words.index("xpm_stream.cli.main") + 1 :]
    command = next((word for word in after if word in ROLES), None)
    if command == "label":
        return f"labeler-{after[after.index('--index') + 1]}"
    return ROLES[command] if command else None


def _watch(run: subprocess.Popen[bytes], *, timeout_s: float) -> tuple[dict[str, list[float]], float, float]:
    """Peak RSS by role (one for each process), the highest sum of PSS, and the seconds it took."""
    started = time.monotonic()
    top = psutil.Process(run.pid)
    peaks: dict[tuple[str, int], float] = {}
    together = 0.0
    while run.poll() is None:
        if time.monotonic() - started > timeout_s:
            raise RunFailed(f"the run did not end within {timeout_s:.0f} s")
        shared_out = 0.0
        for process in [top, *_children(top)]:
            try:
                # Asked anew each time: a child just forked still has its parent's command line.
                role = role_of(process.cmdline())
                if role is None:
                    continue
                resident = process.memory_info().rss
                shared_out += process.memory_full_info().pss if sys.platform == "linux" else resident
            except psutil.Error:
                continue  # it ended between being listed and being looked at
            key = (role, process.pid)
            peaks[key] = max(peaks.get(key, 0.0), resident)
        together = max(together, shared_out)
        time.sleep(SAMPLE_EVERY_S)
    by_role: dict[str, list[float]] = {}
    for (role, _), peak in peaks.items():
        by_role.setdefault(role, []).append(peak)
    return by_role, together, time.monotonic() - started


def _children(top: psutil.Process) -> list[psutil.Process]:
    try:
        return top.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _end(run: subprocess.Popen[bytes]) -> None:
    """SIGTERM, as Ctrl-C: `up` then stops its roles in order."""
    if run.poll() is None:
        run.terminate()
        try:
            run.wait(90)
        except subprocess.TimeoutExpired:
            run.kill()
            run.wait()


def _figures(peaks: dict[str, list[float]], together: float, *, what: str) -> list[Figure]:
    figures = [
        Figure(name=f"peak memory, {role}", values=[max(sizes) / MEGABYTE], unit="MB", detail=f"RSS; {what}")
        for role, sizes in sorted(peaks.items())
    ]
    whole = Figure(
        name="peak memory, all at once",
        values=[together / MEGABYTE],
        unit="MB",
        goal=Goal(bound=6000, at_least=False),
        detail=f"sum of PSS at its highest; {what}",
    )
    return [*figures, whole]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, help="the run to watch; default: a short synthetic one")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a value of it")
    asked = parser.parse_args()
    print_figures(measure(config=asked.config, overrides=asked.set))
