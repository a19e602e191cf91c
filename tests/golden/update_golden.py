"""Write the golden losses anew, and say what changed, arm by arm: `python tests/golden/update_golden.py`.

With `--check` nothing is written: it says what is not bit-equal to what is stored, and exits with 1. On the machine
that wrote the numbers that shows whether a refactor is one; elsewhere, write them before it and check after it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import torch
from golden_arms import ARMS
from golden_run import run_arm, write_golden_corpus
from golden_values import differences, read_golden, write_golden

_LINES_SHOWN = 16  # of an arm


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arms", nargs="*", metavar="ARM", help=f"which; all if none is named ({', '.join(ARMS)})")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if anything changed")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.arms) - set(ARMS))
    if unknown:
        parser.error(f"no such arm: {', '.join(unknown)} (known: {', '.join(ARMS)})")
    torch.set_num_threads(1)
    stored = read_golden()
    chosen = arguments.arms or list(ARMS)
    # Arms that are no more go only where all are run.
    kept = {name: run for name, run in stored.items() if name in ARMS}
    changed = 0
    if not arguments.arms:
        for name in sorted(stored.keys() - ARMS.keys()):
            changed += 1
            print(f"{name}: gone")
    with tempfile.TemporaryDirectory(prefix="golden-") as folder:
        corpus = write_golden_corpus(Path(folder) / "corpus")
        for name in chosen:
            kept[name] = run = run_arm(name, corpus=corpus)
            if name not in stored:
                changed += 1
                print(f"{name}: new", flush=True)
                continue
            lines = differences(stored[name], run, exact=True)
            changed += bool(lines)
            rounding = lines and not differences(stored[name], run)
            print(f"{name}: {_verdict(len(lines), rounding=bool(rounding))}", flush=True)
            for line in lines[:_LINES_SHOWN]:
                print(f"    {line}", flush=True)
            if len(lines) > _LINES_SHOWN:
                print(f"    and {len(lines) - _LINES_SHOWN} more", flush=True)
    print(f"{changed} of {len(chosen)} arms changed")
    if arguments.check:
        return 1 if changed else 0
    write_golden(kept)
    return 0


def _verdict(number: int, *, rounding: bool) -> str:
    if not number:
        return "bit-equal"
    return f"{number} differences" + (", all within the test's tolerance" if rounding else "")


if __name__ == "__main__":
    sys.exit(main())
