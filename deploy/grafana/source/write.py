"""Write the dashboards as JSON: `python deploy/grafana/source/write.py` (needs `pip install 'xpm-stream[test]'`)."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

import drift
import labelers
import overview
import trainer
from grafana_foundation_sdk.cog.encoder import JSONEncoder

FOLDER: Final = Path(__file__).parents[1] / "dashboards"
BOARDS: Final = {
    "overview": overview.BOARD,
    "labelers": labelers.BOARD,
    "trainer": trainer.BOARD,
    "drift_and_promotion": drift.BOARD,
}


def render() -> dict[str, str]:
    """The JSON of each dashboard by its file's name."""
    encoder = JSONEncoder(sort_keys=True, indent=1)
    return {f"{name}.json": encoder.encode(board.build()) + "\n" for name, board in BOARDS.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=FOLDER, metavar="FOLDER")
    folder = parser.parse_args().output
    for name, text in render().items():
        (folder / name).write_text(text, encoding="utf-8")
