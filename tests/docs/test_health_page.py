"""docs/health.md says what the schema and the manifests say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from xpm_stream.config import RunConfig

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "health.md").read_text(encoding="utf-8")
BASE = REPOSITORY / "deploy" / "kubernetes" / "base"


@pytest.mark.parametrize(
    ("role", "key"),
    [("labeler", "labeler"), ("trainer", "trainer"), ("promoter", "promotion"), ("drift monitor", "promotion")],
)
def test_the_times_of_the_table_are_those_of_schema_and_manifest(role: str, key: str) -> None:
    (row,) = re.findall(rf"^\| {role}[^|]*\|.*\| `{key}\.stop_timeout_s`: (\d+) s \| (\d+) \|$", PAGE, re.MULTILINE)
    stops_s, grace_s = map(int, row)
    assert stops_s == getattr(RunConfig(), key).stop_timeout_s
    manifests = yaml.safe_load_all((BASE / f"{role.split()[-1]}.yaml").read_text(encoding="utf-8"))
    pods = [tree["spec"]["template"]["spec"] for tree in manifests if tree["kind"] in ("Deployment", "StatefulSet")]
    assert [pod["terminationGracePeriodSeconds"] for pod in pods] == [grace_s]
    assert stops_s < grace_s
