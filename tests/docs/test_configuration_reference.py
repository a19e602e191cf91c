from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from xpm_stream.config.reference import render_reference, undescribed_keys

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_page_says_what_the_schema_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == render_reference(), (
        "the schema has changed: python -m xpm_stream.config.reference > docs/configuration.md"
    )


def test_every_key_says_what_it_means() -> None:
    assert undescribed_keys() == []


def test_ranges_defaults_and_choices_are_shown() -> None:
    page = render_reference()
    assert "| `keep_checkpoints` | integer | `3` | ≥ 2 |" in page
    assert "| `refresh` | `never`, `on_promotion` | `on_promotion` |" in page
    assert "| `annotations` | text | *required* |" in page
    assert "| `eta` | number or none | `null` | > 0 |" in page
    assert "| `name` | text | `run` | matches `^[A-Za-z0-9_.-]+$` |" in page


def test_writing_the_page_imports_no_torch() -> None:
    script = "import sys; import xpm_stream.config.reference as r; r.render_reference(); print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"
