"""What of the registry's section makes another run, and what may change from one `up` to the next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from xpm_stream.config.loading import parse_config
from xpm_stream.errors import ConfigError
from xpm_stream.stages.local import LocalRun


def test_retention_may_change_and_the_place_may_not(tmp_path: Path) -> None:
    def prepare(**registry: Any) -> LocalRun:
        tree = {"folder": str(tmp_path / "run"), "data": {"watch": True}, "registry": registry}
        return LocalRun.prepare(parse_config(tree, source="test"))

    prepare()
    kept = prepare(keep_promotions=3, keep_candidates=0, remove_after_s=0, prune=False)
    assert kept.config.registry.keep_promotions == 3
    with pytest.raises(ConfigError, match=r"holds another run: registry\.url \(None there, 'elsewhere' asked for\)"):
        prepare(url="elsewhere")
