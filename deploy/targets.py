"""The addresses of a run's living processes, as Prometheus' file discovery reads them.

    python deploy/targets.py RUN [RUN ...] --output FILE [--every SECONDS]

Processes on other machines are listed as they announced themselves: bind `metrics.host` to an address that Prometheus
reaches.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

from xpm_stream.monitoring.serving import read_endpoints


def targets_of(runs: Sequence[Path]) -> list[dict[str, object]]:
    """One group for each process, labelled with its role and run."""
    return [
        {
            "targets": [endpoint.url.removeprefix("http://")],
            "labels": {"role": endpoint.role, "run": run.resolve().name},
        }
        for run in runs
        for endpoint in read_endpoints(run)
    ]


def write_targets(runs: Sequence[Path], output: Path) -> None:
    """Replace the file in one step: Prometheus may read it at any moment."""
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_suffix(".new")
    partial.write_text(json.dumps(targets_of(runs), indent=1) + "\n", encoding="utf-8")
    partial.replace(output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE")
    parser.add_argument("--every", type=float, default=0.0, metavar="SECONDS", help="write it again and again")
    asked = parser.parse_args()
    while True:
        write_targets(asked.runs, asked.output)
        if not asked.every:
            break
        time.sleep(asked.every)
