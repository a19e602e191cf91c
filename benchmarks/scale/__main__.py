"""What one Redis carries: `python -m benchmarks.scale` from the repository's root.

end_to_end: many stub labelers, one trainer, one Redis. redis: Redis alone, fed with commits made beforehand. drain: one
labeler and one trainer alone. ledger: operations on a queue with thousands of shards. All tables are printed; with
`--markdown docs/scale.md` they replace those of that page, with the command, the date and the machine.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.markdown import write_between_markers
from benchmarks.scale import drain, end_to_end, ledger, redis_alone, report
from xpm_stream.monitoring.summary import describe_machine

PARTS: Final = ("end_to_end", "redis", "drain", "ledger")
_NO_BUDGET: Final = 1_000_000


def main(given: Sequence[str] | None = None) -> None:
    """Measure what is asked for, print it, write it where asked."""
    asked = _parser().parse_args(given)
    measures: dict[str, Callable[[argparse.Namespace], tuple[dict[str, str], list[Any]]]] = {
        "end_to_end": _end_to_end,
        "redis": _redis,
        "drain": _drain,
        "ledger": _ledger,
    }
    command = " ".join(["python -m benchmarks.scale", *(sys.argv[1:] if given is None else given)])
    written: dict[str, Any] = {"command": command, "machine": msgspec.to_builtins(describe_machine())}
    for name in asked.only or PARTS:
        when, load = datetime.datetime.now(datetime.UTC), os.getloadavg()[0]
        tables, found = measures[name](asked)
        machine = describe_machine()
        said = (
            f"{when:%Y-%m-%d}, {machine.cpu_cores} cores, {machine.processor}, {machine.memory_gb:.0f} GB; "
            f"load before: {load:.1f}; `{command}`"
        )
        for part, text in tables.items():
            text = f"{text}\n\n{said}"
            print(f"\n## {part}\n\n{text}", flush=True)
            if asked.markdown is not None:
                write_between_markers(asked.markdown, name=f"scale {part}", text=text)
        written[name] = [msgspec.to_builtins(one) for one in found]
    if asked.json is not None:
        asked.json.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


def _end_to_end(asked: argparse.Namespace) -> tuple[dict[str, str], list[Any]]:
    each = 40 if asked.tiny else asked.samples
    few = [number for number in (8,) if number < asked.labelers]
    sizes = [(number, 4096) for number in [*few, asked.labelers]] + [(asked.labelers, _NO_BUDGET)]
    runs = [
        end_to_end.measure(labelers=number, samples_each=each * asked.labelers // number, budget=budget)
        for number, budget in (sizes[-2:-1] if asked.tiny else sizes)
    ]
    names = ("commit", "read", "acknowledge", "acquire", "renew", "take_relabels", "oldest")
    scripts = [(f"{run.labelers} labelers, budget {run.budget:,}", run.scripts) for run in runs]
    tables = {"end_to_end": report.end_to_end_table(runs), "scripts": report.script_table(scripts, names=names)}
    return tables, list(runs)


def _redis(asked: argparse.Namespace) -> tuple[dict[str, str], list[Any]]:
    labels = 1024 if asked.tiny else 100_000
    cases = [(8, "everysec")] if asked.tiny else [(1, "everysec"), (8, "everysec"), (64, "everysec"), (8, "always")]
    runs = [
        redis_alone.measure(leases=asked.labelers, labels=labels, batch=batch, fsync=fsync) for batch, fsync in cases
    ]
    scripts = [(f"{run.batch} a commit, {run.fsync}", run.scripts) for run in runs]
    names = ("commit", "read", "acknowledge")
    return {"redis": report.redis_table(runs), "redis_scripts": report.script_table(scripts, names=names)}, list(runs)


def _drain(asked: argparse.Namespace) -> tuple[dict[str, str], list[Any]]:
    found = drain.measure(labels=2000 if asked.tiny else 30_000)
    return {"drain": report.drain_table(found)}, [found]


def _ledger(asked: argparse.Namespace) -> tuple[dict[str, str], list[Any]]:
    found = ledger.measure(shards=100, few=4, many=16, labels=400) if asked.tiny else ledger.measure()
    return {"ledger": report.ledger_table(found)}, [found]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, help="some of the parts")
    parser.add_argument("--labelers", type=int, default=64, help="labelers (end_to_end) or leases at once (redis)")
    parser.add_argument("--samples", type=int, default=1500, help="samples for each labeler")
    parser.add_argument("--tiny", action="store_true", help="too small to say anything: whether it runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="refresh the tables between this page's markers")
    return parser


if __name__ == "__main__":
    main()
