"""Every figure beside its goal, in one run: `python -m benchmarks.run_all` from the repository's root.

What is compared is run in turns, round by round, and ratios are taken within a round, so that a busy machine slows both
sides alike. A figure is the median of the rounds, with the lowest and highest beside it.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console

from benchmarks import caption_nouns, labelling, memory, queue_throughput, training_step
from benchmarks.figures import Figure, as_json, table_of
from benchmarks.region_workload import parse_arguments
from xpm_stream.monitoring.summary import describe_machine, describe_versions


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much each benchmark does."""

    rounds: int
    images: int  # caption images a batch, and base images in training
    image_size: int  # pixels
    captions: int  # a round
    labels: int  # a round
    batch: int  # labels of a commit and of a read


FULL: Final = Sizes(rounds=9, images=16, image_size=160, captions=30_000, labels=4000, batch=16)
TINY: Final = Sizes(rounds=2, images=2, image_size=64, captions=300, labels=64, batch=16)
BENCHMARKS: Final = ("labelling", "training", "nouns", "queue", "memory")


def main(given: Sequence[str] | None = None) -> None:
    """Measure, print the table, write the JSON if asked."""
    asked = _parser().parse_args(given)
    sizes = TINY if asked.tiny else FULL
    console = Console(width=None if sys.stdout.isatty() else 160)
    started = datetime.datetime.now(datetime.UTC)
    facts = {
        "command": " ".join(["python -m benchmarks.run_all", *(sys.argv[1:] if given is None else given)]),
        "date": started.isoformat(timespec="seconds"),
        "load_before": [round(load, 2) for load in os.getloadavg()],
        "threads": asked.threads,
        "precision": asked.precision,
        "machine": msgspec.to_builtins(describe_machine()),
        "versions": describe_versions(),
    }
    figures: list[Figure] = []
    for name in asked.only or BENCHMARKS:
        with console.status(f"measuring {name}"):
            figures += _measure(name, asked, sizes)
    facts["seconds"] = round((datetime.datetime.now(datetime.UTC) - started).total_seconds())
    console.print(table_of(figures))
    for key, value in facts.items():
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        console.print(f"{key}: {shown}", highlight=False)
    missed = [figure.name for figure in figures if figure.verdict == "missed"]
    console.print(f"[bold red]missed:[/] {'; '.join(missed)}" if missed else "[green]every goal is met[/]")
    if asked.json is not None:
        asked.json.write_text(json.dumps({**facts, "figures": as_json(figures)}, indent=1) + "\n", encoding="utf-8")


def _measure(name: str, asked: argparse.Namespace, sizes: Sizes) -> list[Figure]:
    region = [
        *("--images", str(sizes.images), "--image-size", str(sizes.image_size), "--repetitions", str(sizes.rounds)),
        *("--threads", str(asked.threads), "--precision", asked.precision, "--backbone", asked.backbone),
    ]
    measures: dict[str, Callable[[], list[Figure]]] = {
        "labelling": lambda: labelling.measure(parse_arguments("", region)),
        "training": lambda: training_step.measure(parse_arguments("", region)),
        "nouns": lambda: caption_nouns.measure(captions=sizes.captions, rounds=sizes.rounds),
        "queue": lambda: queue_throughput.measure(labels=sizes.labels, batch=sizes.batch, rounds=sizes.rounds),
        "memory": lambda: memory.measure(config=asked.memory_config, overrides=asked.set),
    }
    return measures[name]()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run_all", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, help="some of the benchmarks")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    parser.add_argument("--tiny", action="store_true", help="too small to say anything: whether it runs")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch; 0: its default")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--backbone", default="small", help="small, resnet18, resnet50 or resnet101")
    parser.add_argument("--memory-config", type=Path, metavar="FILE", help="the run whose memory is watched")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a value of that run")
    return parser


if __name__ == "__main__":
    main()
