"""Captions a second through `CaptionNouns.find` on one core.

    python -m benchmarks.caption_nouns [COCO captions JSON ...] [--captions N]

Without files it reads the real COCO captions beside the repository, or else captions of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import Figure, Goal, print_figures
from xpm_stream.text import CaptionNouns

REPOSITORY = Path(__file__).resolve().parents[1]
COCO_TINY = REPOSITORY.parent / "shared" / "data" / "coco_tiny" / "annotations"
OWN_CAPTIONS = (
    "Two teddy bears sitting on a wooden bench beside a red umbrella.",
    "A man riding a wave on top of a surfboard while people watch from the beach.",
    "Several slices of pizza and a glass of orange juice on a kitchen table.",
    "The bathroom has a white toilet, a sink and a large mirror above it.",
    "A flock of sheep grazing in a field next to an old stone wall.",
    "Cars and buses wait at the traffic lights of a busy city street at night.",
)


def measure(*, captions: int = 30_000, rounds: int = 5, files: Sequence[Path] | None = None) -> list[Figure]:
    """Captions a second of processor time, in each of some rounds."""
    found_files = sorted(COCO_TINY.glob("captions_*.json")) if files is None else files
    texts = [
        annotation["caption"]
        for path in found_files
        for annotation in json.loads(path.read_text(encoding="utf-8"))["annotations"]
    ]
    source = f"{len(texts)} distinct of COCO" if texts else f"{len(OWN_CAPTIONS)} distinct of our own"
    texts = texts or list(OWN_CAPTIONS)
    repeated = (texts * (captions // len(texts) + 1))[:captions]
    started = time.perf_counter()
    nouns = CaptionNouns.load()
    load_ms = (time.perf_counter() - started) * 1e3
    rates, found = [], 0
    for _ in range(rounds):
        started = time.process_time()
        found = sum(len(nouns.find(caption)) for caption in repeated)
        rates.append(captions / (time.process_time() - started))
    each = found / captions
    nouns_a_second = each * statistics.median(rates)
    detail = (
        f"captions on one core; {each:.2f} nouns each, so {nouns_a_second:,.0f} nouns a second; "
        f"{captions:,} captions ({source}); the lexicon loads in {load_ms:.0f} ms"
    )
    return [
        Figure(name="captions searched for nouns", values=rates, unit="1/s", goal=Goal(bound=20_000), detail=detail)
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--captions", type=int, default=30_000, help="captions a round; the files are repeated")
    asked = parser.parse_args()
    print_figures(measure(captions=asked.captions, files=asked.files or None))
