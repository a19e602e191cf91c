"""All shards of a run: those of its configuration, and those that only its ledger knows."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from label_runs import captioned, write_members

from xpm_stream.config import RunConfig, load_config
from xpm_stream.errors import ShardError
from xpm_stream.label_queue import start_or_join
from xpm_stream.stages.exported_labels import ExportTally
from xpm_stream.stages.run_shards import shards_of_run
from xpm_stream.stages.shard_registration import add_shards


def run_of(folder: Path, **sections: object) -> RunConfig:
    """A run of one named shard, beside which another lies."""
    for number, name in enumerate("ab"):
        write_members(folder / f"{name}.tar", captioned(number, 1))
    data = {"shards": [str(folder / "a.tar")]}
    tree = {"folder": str(folder / "run"), "data": data, "metrics": {"enabled": False}, **sections}
    (folder / "config.yaml").write_text(yaml.safe_dump(tree))
    return load_config(folder / "config.yaml")


def names(config: RunConfig, tally: ExportTally) -> list[str]:
    return [shard.url.rpartition("/")[2] for shard in shards_of_run(config, tally)]


def test_shards_added_later_are_among_them_each_once(tmp_path: Path) -> None:
    config = run_of(tmp_path)
    (tmp_path / "run").mkdir()
    with start_or_join(config.redis, run_folder=tmp_path / "run"):
        for further_pass in (0, 1):
            assert add_shards(config, [str(tmp_path / "*.tar")], pass_index=further_pass) == (2, 2)
        tally = ExportTally()
        assert names(config, tally) == ["a.tar", "b.tar"]
        assert (tally.notes, tally.problems) == ([], [])

        write_members(tmp_path / "a.tar", captioned(5, 3))
        (tmp_path / "b.tar").unlink()
        assert names(config, tally) == ["a.tar"]
        (note,), (problem,) = tally.notes, tally.problems
        assert note.startswith("rewritten since the run took them in, labelled as they are now: 1 (first: file://")
        assert note.endswith("/a.tar)")
        assert "b.tar does not exist" in problem
    assert names(config, ExportTally()) == ["a.tar"], "the run's Redis is started for it"


@pytest.mark.parametrize(
    ("redis", "why"),
    [
        ({}, "the run's folder has no Redis data"),
        ({"url": "redis://127.0.0.1:1/0", "retry_for_s": 0.1}, "the run's Redis cannot be asked"),
    ],
)
def test_a_ledger_that_cannot_be_asked_is_said(tmp_path: Path, redis: dict[str, object], why: str) -> None:
    config, tally = run_of(tmp_path, redis=redis), ExportTally()
    assert names(config, tally) == ["a.tar"]
    (note,) = tally.notes
    assert note.startswith(f"{why}: only the shards of data.shards are labelled")
    assert not (tmp_path / "run").exists(), "looking leaves nothing"


def test_a_named_shard_that_is_gone_is_an_error(tmp_path: Path) -> None:
    config = run_of(tmp_path)
    (tmp_path / "a.tar").unlink()
    with pytest.raises(ShardError, match=r"a\.tar does not exist"):
        shards_of_run(config, ExportTally())
