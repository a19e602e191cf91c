"""A registry that a newer version writes too: what it left is neither misread nor called damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xpm_stream.errors import RegistryError
from xpm_stream.registry import PromotionLog
from xpm_stream.registry.holds import Holds


@pytest.mark.parametrize("folder", ["promotions", "candidates", "leases", "pins", "removals"])
def test_a_record_of_another_shape_asks_for_an_upgrade_and_not_to_be_deleted(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    later = {"schema_version": 2, "action": "archive", "kept_in": ["elsewhere"]}
    (tmp_path / folder / "00000001.json").write_text(json.dumps(later))
    log, holds = PromotionLog(tmp_path), Holds(tmp_path)
    read = {
        "promotions": log.entries,
        "candidates": log.candidates,
        "leases": holds.leased,
        "pins": holds.pins,
        "removals": holds.marks,
    }[folder]
    with pytest.raises(
        RegistryError, match=rf"{folder}/00000001\.json in .* newer version \(schema 2; .*upgrade"
    ) as told:
        read()
    assert "delete" not in str(told.value)
    assert (tmp_path / folder / "00000001.json").exists()


def test_an_entry_under_a_wrong_number_is_told(tmp_path: Path) -> None:
    PromotionLog(tmp_path).append("promote", checkpoint="a", by="test")
    PromotionLog(tmp_path).append("promote", checkpoint="b", by="test")
    (tmp_path / "promotions" / "00000002.json").write_bytes((tmp_path / "promotions" / "00000001.json").read_bytes())
    with pytest.raises(RegistryError, match=r"00000002\.json in .* says number 1: restore it"):
        PromotionLog(tmp_path).entries()
