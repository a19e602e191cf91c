"""Captions a second through `CaptionNouns.find` on one core; prints one line.

    python benchmarks/caption_nouns.py [COCO captions JSON ...] [--captions N]

Without files it looks for the real COCO captions beside the repository.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path

from xpm_stream.text import CaptionNouns

REPOSITORY = Path(__file__).resolve().parents[1]
COCO_TINY = REPOSITORY.parent / "shared" / "data" / "coco_tiny" / "annotations"
ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, default=sorted(COCO_TINY.glob("captions_*.json")))
    parser.add_argument("--captions", type=int, default=30_000, help="captions a round; the files are repeated")
    arguments = parser.parse_args()
    if not arguments.files:
        parser.error(f"no captions: name COCO captions JSON files, or put coco_tiny at {COCO_TINY.parent}")
    texts = [
        annotation["caption"]
        for path in arguments.files
        for annotation in json.loads(path.read_text(encoding="utf-8"))["annotations"]
    ]
    captions = (texts * (arguments.captions // len(texts) + 1))[: arguments.captions]
    started = time.perf_counter()
    nouns = CaptionNouns.load()
    load_ms = (time.perf_counter() - started) * 1e3
    rates, found = [], 0
    for _ in range(ROUNDS):
        started = time.process_time()
        found = sum(len(nouns.find(caption)) for caption in captions)
        rates.append(len(captions) / (time.process_time() - started))
    print(
        f"caption_nouns {statistics.median(rates):,.0f} captions/s a core (median of {ROUNDS}; {min(rates):,.0f} to "
        f"{max(rates):,.0f}; {len(captions):,} captions from {len(texts)} distinct, {found / len(captions):.2f} nouns "
        f"each; lexicon loads in {load_ms:.0f} ms) | Python {platform.python_version()}, {platform.machine()}, "
        f"{os.cpu_count()} cores, goal 20,000"
    )


if __name__ == "__main__":
    main()
