"""What people write into a configuration, and what they are told when it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from xpm_stream.config import RunConfig, load_config, save_resolved
from xpm_stream.config.loading import parse_config
from xpm_stream.errors import ConfigError

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


@pytest.fixture
def write(tmp_path: Path) -> Path:
    return tmp_path / "run.yaml"


def _refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as refused:
        load_config(path, overrides=overrides)
    return str(refused.value)


@pytest.mark.parametrize("path", CONFIGS, ids=[path.stem for path in CONFIGS])
def test_every_shipped_configuration_can_be_used(path: Path) -> None:
    assert load_config(path).name


def test_there_are_shipped_configurations() -> None:
    assert CONFIGS


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("traner: {steps: 3}", "trainer"),
        ("trainer: {checkpoint_every_step: 3}", "trainer.checkpoint_every_steps"),
        ("model: {image_sise: 3}", "model.image_size"),
        ("prepare: {synthetic: {presett: tiny}}", "prepare.synthetic.preset"),
        ("data: {base: {annotations: a, image: b}}", "data.base.images"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(write: Path, written: str, meant: str) -> None:
    write.write_text(written)
    said = _refusal(write)
    assert "unknown key" in said
    assert f"did you mean {meant!r}" in said


def test_every_mistake_is_told_at_once(write: Path) -> None:
    write.write_text("traner: {}\nmodel: {image_size: -1}\ndata: {payload: fast}")
    said = _refusal(write)
    assert str(write) in said
    assert "'traner'" in said
    assert "model.image_size" in said
    assert "greater than or equal to 1 (got -1)" in said
    assert "data.payload" in said
    assert "(got 'fast')" in said


@pytest.mark.parametrize(
    "override",
    [
        "trainer.horizontal_flip=1.5",
        "xpm.eta=0",
        "trainer.keep_checkpoints=1",
        "model.trainable_layers=6",
        "redis.namespace=a b",
        "labeler.workers=0",
        "redis.retry_for_s=-1",
        "optimiser.ema_decay=1",
    ],
)
def test_a_value_out_of_range_is_refused_with_its_key(write: Path, override: str) -> None:
    write.write_text("")
    assert override.partition("=")[0] in _refusal(write, override)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["promotion.candidate=ema"], "run.yaml: promotion.candidate: ema needs optimiser.ema_decay above 0"),
        (["queue.max_unacked_labels=7"], "queue.max_unacked_labels (7) is below trainer.batch_captions (8)"),
    ],
)
def test_sections_that_contradict_each_other_are_refused(write: Path, overrides: list[str], said: str) -> None:
    write.write_text("")
    assert said in _refusal(write, *overrides)
    assert load_config(write, overrides=["promotion.candidate=ema", "optimiser.ema_decay=0.9"])


def test_an_empty_file_means_the_defaults(write: Path) -> None:
    write.write_text("# nothing yet\n")
    assert load_config(write) == RunConfig()


@pytest.mark.parametrize("written", ["[]", "- a", "0", "false", "just words"])
def test_a_file_that_is_no_mapping_is_refused(write: Path, written: str) -> None:
    write.write_text(written)
    assert "mapping of sections" in _refusal(write)


def test_a_file_that_is_no_yaml_is_refused_with_the_place(write: Path) -> None:
    write.write_text("trainer: {steps: 3\nmodel: [")
    assert "not valid YAML" in _refusal(write)
    assert "line" in _refusal(write)


def test_a_file_that_is_no_text_is_refused(write: Path) -> None:
    write.write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in _refusal(write)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    assert "No such file" in _refusal(tmp_path / "none.yaml")
    assert "Is a directory" in _refusal(tmp_path)


def test_an_empty_section_is_told_as_such(write: Path) -> None:
    write.write_text("trainer:\n  # steps: 3\n")
    assert "trainer: the section is empty" in _refusal(write)


def test_an_override_fills_an_empty_section_and_makes_missing_ones(write: Path) -> None:
    write.write_text("trainer:\n")
    config = load_config(write, overrides=["trainer.steps=7", "data.base.annotations=a", "data.base.images=b"])
    assert config.trainer.steps == 7
    assert config.data.base is not None
    assert config.data.base.images == "b"


def test_overrides_are_yaml_and_the_last_one_holds(write: Path) -> None:
    write.write_text("name: old")
    overrides = ["name=new", "data.shards=[a.tar, b.tar]", "xpm.eta=null", "trainer.steps=1", "trainer.steps=2"]
    config = load_config(write, overrides=overrides)
    assert (config.name, config.data.shards, config.xpm.eta, config.trainer.steps) == (
        "new",
        ["a.tar", "b.tar"],
        None,
        2,
    )


def test_the_value_of_an_override_may_hold_equals_signs(write: Path) -> None:
    write.write_text("")
    assert load_config(write, overrides=["folder=/runs/lr=1"]).folder == "/runs/lr=1"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("trainer.steps", "not of the form section.key=value"),
        ("=3", "not of the form section.key=value"),
        ("name.first=3", "'name' is a value, not a section"),
        ("data.shards=[a", "not valid YAML"),
        ("trainer.stepz=3", "did you mean 'trainer.steps'"),
        ("trainer.=3", "unknown key 'trainer.'"),
    ],
)
def test_a_malformed_override_is_named(write: Path, override: str, said: str) -> None:
    write.write_text("name: run")
    assert said in _refusal(write, override)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "seed": st.integers(0, 10**9),
            "folder": st.none() | st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1),
            "trainer": st.fixed_dictionaries(
                {}, optional={"steps": st.integers(0, 99), "horizontal_flip": st.floats(0, 1)}
            ),
            "data": st.fixed_dictionaries({}, optional={"shards": st.lists(st.text("a{}*/:.'\"#é\n", max_size=9))}),
            "prepare": st.fixed_dictionaries(
                {}, optional={"synthetic": st.just({"settings": {"objects": [1, 2], "style": "sketch"}})}
            ),
        },
    )
)
def test_the_resolved_copy_is_the_same_configuration(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, object]
) -> None:
    config = parse_config(tree, source="test")
    copy = save_resolved(config, tmp_path_factory.mktemp("run"))
    assert load_config(copy) == config


def test_the_resolved_copy_holds_the_defaults(tmp_path: Path) -> None:
    saved = yaml.safe_load(save_resolved(RunConfig(), tmp_path / "new" / "folder").read_text())
    assert saved["trainer"]["keep_checkpoints"] == 3
    assert set(saved) == set(RunConfig.model_fields)


def test_a_loaded_configuration_cannot_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        RunConfig().trainer.steps = 3  # type: ignore[misc]
