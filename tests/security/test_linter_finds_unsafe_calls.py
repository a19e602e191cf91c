"""The linter's settings: no pickle, no eval, no shell, no certificate unchecked; the tree itself is linted in CI."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
UNSAFE = {
    "S301": "import pickle\npickle.loads(data)",
    "S302": "import marshal\nmarshal.loads(data)",
    "S307": "eval(data)",
    "S102": "exec(data)",
    "S506": "import yaml\nyaml.load(data)",
    "S602": "import subprocess\nsubprocess.run(data, shell=True)",
    "S605": "import os\nos.system(data)",
    "TID251": "import torch\ntorch.load(data)",
    "S202": "import tarfile\ntarfile.open(data).extractall()",
    "S501": "import requests\nrequests.get(data, verify=False, timeout=1)",
    "S306": "import tempfile\ntempfile.mktemp()",
}


def findings(code: str, *, name: str) -> set[str]:
    arguments = ["check", "--output-format", "json", "--stdin-filename", str(REPOSITORY / name), "-"]
    found = subprocess.run(
        [sys.executable, "-m", "ruff", *arguments],
        input=code,
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        timeout=60,
    )
    return {finding["code"] for finding in json.loads(found.stdout)}


@pytest.mark.parametrize(("rule", "code"), UNSAFE.items())
def test_an_unsafe_call_is_found(rule: str, code: str) -> None:
    assert rule in findings(f"{code}\n", name="xpm_stream/data/planted.py")


def test_nobody_is_excused_in_the_package() -> None:
    """A `noqa` of such a rule is a decision that belongs into docs/security.md."""
    excused = [
        f"{path.relative_to(REPOSITORY)}:{number}"
        for folder in ("xpm_stream", "workers", "deploy")
        for path in (REPOSITORY / folder).rglob("*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if "noqa: " in line and any(rule in line for rule in UNSAFE)
    ]
    assert excused == []
