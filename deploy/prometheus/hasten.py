"""Copies of the rules for tests and demonstrations, in which all times are shorter: `for`, `[10m]`, `offset 1h`.

    python deploy/prometheus/hasten.py --by 30 FOLDER     # 10 minutes become 20 seconds

Nothing else is changed. Limits in seconds (the age of a label, of a checkpoint, of the champion) stay as they are.
Scrape and evaluate so often that the shortest range, two minutes, still holds a few samples.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import yaml

RULES = Path(__file__).parent / "rules"
SECONDS_OF = {"s": 1, "m": 60, "h": 3600, "d": 86400}
RANGE = re.compile(r"(\[|offset )(\d+)([smhd])\b")


def hastened(duration: str, *, by: float) -> str:
    """A duration such as `10m`, divided."""
    milliseconds = int(duration[:-1]) * SECONDS_OF[duration[-1]] * 1000 / by
    return f"{max(1, round(milliseconds))}ms"


def hastened_rule(rule: dict[str, Any], *, by: float) -> dict[str, Any]:
    """The rule with its own durations, and those in its expression, divided."""
    changed = {**rule, "expr": RANGE.sub(lambda m: m[1] + hastened(m[2] + m[3], by=by), rule["expr"])}
    if "for" in rule:
        changed["for"] = hastened(rule["for"], by=by)
    return changed


def write_hastened(folder: Path, *, by: float) -> None:
    """Write every file of rules into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in RULES.glob("*.yaml"):
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        for group in tree["groups"]:
            group["rules"] = [hastened_rule(rule, by=by) for rule in group["rules"]]
        (folder / path.name).write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--by", type=float, required=True, metavar="FACTOR")
    asked = parser.parse_args()
    write_hastened(asked.folder, by=asked.by)
