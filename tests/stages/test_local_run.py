"""What `up` refuses before it starts anything: mistakes that would else show after hours, or spoil another run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from xpm_stream.cli.main import app
from xpm_stream.config import RunConfig
from xpm_stream.config.data_sections import SyntheticCorpusConfig
from xpm_stream.config.loading import parse_config
from xpm_stream.data.synthetic import CorpusPaths, write_corpus
from xpm_stream.errors import ConfigError, ShardError, TrainingError
from xpm_stream.registry.promotion_log import PromotionLog
from xpm_stream.stages.local import LocalRun
from xpm_stream.stages.preparation import synthetic_config
from xpm_stream.stages.run_folder import RunFolder

SMALL = {"base_images": 2, "caption_images": 4, "val_images": 2, "image_size": 48}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> CorpusPaths:
    section = SyntheticCorpusConfig(preset="tiny", settings=SMALL)
    return write_corpus(tmp_path_factory.mktemp("corpus") / "c", preset=synthetic_config(section))


def _config(folder: Path, **sections: Any) -> RunConfig:
    return parse_config({"folder": str(folder), "metrics": {"port": 0}, **sections}, source="test")


def _prepared(folder: Path, **sections: Any) -> LocalRun:
    config = _config(folder, **sections)
    RunFolder.of(config).create()
    return LocalRun.prepare(config)


def test_the_prepared_data_is_filled_in_and_saved(tmp_path: Path) -> None:
    settings = {"preset": "tiny", "settings": SMALL}
    run = _prepared(tmp_path / "run", prepare={"synthetic": settings})
    assert run.config.data.base is not None
    assert run.config.data.val is not None
    assert len(run.config.data.shards) == 1
    assert run.folder.config.is_file()
    again = _prepared(tmp_path / "run", prepare={"synthetic": settings})
    assert again.config == run.config
    with pytest.raises(ConfigError, match=r"prepare\.synthetic\.settings .*begin anew"):
        _prepared(tmp_path / "run", prepare={"synthetic": {**settings, "settings": {**SMALL, "base_images": 3}}})


def test_a_folder_of_another_run_is_refused_and_left_as_it_is(tmp_path: Path, corpus: CorpusPaths) -> None:
    data = {"shards": [corpus.caption_shards]}
    _prepared(tmp_path / "run", data=data, model={"image_size": 64})
    before = (tmp_path / "run" / "config.yaml").read_bytes()
    with pytest.raises(ConfigError) as refused:
        _prepared(tmp_path / "run", data=data, model={"image_size": 96}, seed=3)
    said = str(refused.value)
    assert "model.image_size (64 there, 96 asked for)" in said
    assert "seed (0 there, 3 asked for)" in said
    assert "--set folder=" in said
    assert (tmp_path / "run" / "config.yaml").read_bytes() == before


def test_another_corpus_in_the_folder_is_refused(tmp_path: Path, corpus: CorpusPaths) -> None:
    _prepared(tmp_path / "run", data={"shards": [corpus.caption_shards]})
    with pytest.raises(ConfigError, match=r"data\.passes \(1 there, 2 asked for\)"):
        _prepared(tmp_path / "run", data={"shards": [corpus.caption_shards], "passes": 2})


def test_how_a_run_is_worked_on_may_change_between_starts(tmp_path: Path, corpus: CorpusPaths) -> None:
    data = {"shards": [corpus.caption_shards]}
    _prepared(tmp_path / "run", data=data)
    run = _prepared(tmp_path / "run", data=data, labeler={"workers": 3}, trainer={"checkpoint_every_steps": 7})
    assert run.config.labeler.workers == 3


def test_a_missing_shard_is_told_before_anything_starts(tmp_path: Path, corpus: CorpusPaths) -> None:
    with pytest.raises(ShardError, match=r"shard .*/none-01\.tar does not exist"):
        _prepared(tmp_path / "run", data={"shards": [corpus.caption_shards, f"{tmp_path}/none-{{01..03}}.tar"]})


def test_a_run_with_nothing_to_label_is_refused_and_one_that_waits_for_shards_is_not(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing to label.*data\.shards"):
        _prepared(tmp_path / "run")
    assert _prepared(tmp_path / "watching", data={"watch": True}).config.data.watch


@pytest.mark.parametrize("command", ["add", "watch"])
def test_a_run_may_be_given_all_its_shards_by_hand_before_it_starts(
    tmp_path: Path, corpus: CorpusPaths, command: str
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({"folder": str(tmp_path / "run"), "metrics": {"port": 0}}))
    given = CliRunner().invoke(app, ["shards", command, str(file), str(corpus.caption_shards)])
    assert given.exit_code == 0, given.output
    assert _prepared(tmp_path / "run").config.data.shards == []


def test_an_unknown_method_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown method 'xpn'; did you mean 'xpm'"):
        _prepared(tmp_path / "run", method="xpn")


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        ({"synthetic": {"preset": "tinny"}}, "unknown preset 'tinny'"),
        ({"synthetic": {"preset": "tiny", "settings": {"objcts": [1, 2]}}}, "settings: objcts"),
        ({"synthetic": {"preset": "tiny"}, "pack": {"captions": "a", "images": "b"}}, "alternatives"),
    ],
)
def test_what_cannot_be_prepared_is_named(tmp_path: Path, prepare: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        _prepared(tmp_path / "run", prepare=prepare)


def test_a_first_teacher_that_was_refused_ends_the_run_with_the_reason(tmp_path: Path, corpus: CorpusPaths) -> None:
    run = _prepared(tmp_path / "run", data={"shards": [corpus.caption_shards]})
    log = PromotionLog(run.folder.registry_url(run.config))
    candidate = log.propose("teacher-e0-s1", epoch=0, step=1)
    log.append("refuse", candidate=candidate.number, by="test", reasons=["3 tensors are not finite, first a.b"])
    with pytest.raises(TrainingError, match="no first teacher was promoted: 3 tensors are not finite"):
        run.stream(on_stage=lambda _: None, on_look=lambda: None, stopped=lambda: False)


def test_a_drift_monitor_that_cannot_be_is_refused_before_anything_starts(tmp_path: Path) -> None:
    drift = {"reference_labels": 300, "block_labels": 200}
    with pytest.raises(ConfigError, match=r"drift\.block_labels is 200, .* only 150 labels"):
        LocalRun.prepare(_config(tmp_path / "run", drift=drift))
    assert not (tmp_path / "run").exists()
