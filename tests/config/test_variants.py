"""`xpm.variant` fills what the user left open, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from xpm_stream.config import RunConfig, load_config
from xpm_stream.config.loading import parse_config, save_resolved
from xpm_stream.config.method_sections import XpmConfig
from xpm_stream.config.network_sections import TeacherConfig
from xpm_stream.config.variants import VARIANTS
from xpm_stream.errors import ConfigError


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_a_variant_sets_each_of_its_switches(variant: str) -> None:
    config = parse_config({"xpm": {"variant": variant}}, source="test")
    tree = config.model_dump()
    assert {place: tree[place[0]][place[1]] for place in VARIANTS[variant]} == VARIANTS[variant]


def test_both_variants_name_the_same_switches_and_differ() -> None:
    assert VARIANTS["paper"].keys() == VARIANTS["released"].keys()
    differing = [place for place, value in VARIANTS["paper"].items() if VARIANTS["released"][place] != value]
    assert len(differing) >= 7


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_what_the_user_set_wins_wherever_it_was_set(variant: str) -> None:
    tree = {"xpm": {"variant": variant, "assignment": "exclusive", "alpha_scope": "object"}, "teacher": {"steps": 7}}
    config = parse_config(tree | {"model": {"noise_shapes_masks": False}}, source="test")
    assert config.xpm.assignment == "exclusive"
    assert config.xpm.alpha_scope == "object"
    assert config.xpm.weighting == "robust"
    assert config.model.noise_shapes_masks is False
    assert config.teacher.steps == 7
    assert config.teacher.refresh == "never"
    assert tree["xpm"] == {"variant": variant, "assignment": "exclusive", "alpha_scope": "object"}  # not written to


def test_sections_given_as_objects_are_filled_too() -> None:
    config = RunConfig(xpm=XpmConfig(variant="paper", eta=0.5), teacher=TeacherConfig(refresh="on_promotion"))
    assert config.xpm.weighting == "robust"
    assert config.xpm.eta == 0.5
    assert config.teacher.refresh == "on_promotion"


def test_without_a_variant_nothing_is_filled() -> None:
    assert RunConfig().xpm == XpmConfig()
    assert RunConfig().teacher.refresh == "on_promotion"


def test_an_unknown_variant_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"xpm\.variant.*paper"):
        parse_config({"xpm": {"variant": "papers"}}, source="test")


@pytest.mark.parametrize("tree", [{"xpm": ["paper"]}, {"xpm": {"variant": ["paper"]}}, {"xpm": {"variant": 3}}])
def test_a_variant_of_a_strange_shape_is_an_error_of_validation(tree: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="xpm"):
        parse_config(tree, source="test")


@pytest.mark.parametrize("strange", ["text", 3])
def test_a_section_of_a_strange_shape_is_told_as_such(strange: object) -> None:
    with pytest.raises(ConfigError, match="teacher"):
        parse_config({"xpm": {"variant": "paper"}, "teacher": strange}, source="test")


def test_the_command_line_can_choose_a_variant_and_the_resolved_copy_keeps_it(tmp_path: Path) -> None:
    written = tmp_path / "run.yaml"
    written.write_text(yaml.safe_dump({"teacher": None}), encoding="utf-8")
    config = load_config(written, overrides=["xpm.variant=released", "xpm.limit_alpha=true"])
    assert config.xpm.frozen_trunk
    assert config.xpm.limit_alpha
    assert load_config(save_resolved(config, tmp_path / "again")) == config
