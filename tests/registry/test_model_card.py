"""The model card: what a person reads first."""

from __future__ import annotations

import msgspec
import pytest
import yaml

from xpm_stream.errors import CheckpointError
from xpm_stream.registry import Lineage, ModelCard, Parent, render_model_card
from xpm_stream.registry.model_card import CardSection, parse_model_card

CARD = ModelCard(
    name="student-e0002-s0005000",
    method="xpm",
    epoch=2,
    step=5000,
    created_at_s=1_700_000_000.0,
    architecture={"backbone": "resnet50", "engine": "torchvision"},
    vocabulary={"base": 48, "target": 17, "captions": 12345},
    metrics={
        "generalized": {"target mask AP50": 21.6, "base mask AP50": 41.5},
        "constrained": {"target mask AP50": 24.0},
    },
    gate=["base AP50 41.5, at least 41.0: passed"],
    lineage=Lineage(
        parents=[Parent(checkpoint="student-e0001", promotion=2, labels_trained=40_000), Parent(checkpoint="first")],
        shards=12,
        samples={"trained": 60_000},
        ledger_sha256="ab" * 32,
        code_version="0.1.0",
    ),
)


def test_a_card_says_results_and_lineage() -> None:
    text = render_model_card(CARD)
    header = yaml.safe_load(text.split("---\n")[1])
    assert header["pipeline_tag"] == "image-segmentation"
    assert "| setting | target mask AP50 | base mask AP50 |" in text
    assert "| constrained | 24.00 |  |" in text
    assert "1. `student-e0001`, promotion 2, 40,000 labels trained\n2. `first`" in text
    for part in (
        "ab" * 32,
        "| samples trained | 60,000 |",
        "0.1.0",
        "2023-11-14 22:13:20 UTC",
        "at least 41.0: passed",
    ):
        assert part in text


def test_a_card_is_rendered_from_a_plain_mapping() -> None:
    assert render_model_card(msgspec.to_builtins(CARD)) == render_model_card(CARD)


def test_a_mapping_that_lacks_a_field_is_refused() -> None:
    with pytest.raises(CheckpointError, match="code_version"):
        render_model_card(msgspec.to_builtins(CARD) | {"lineage": {}})


def test_the_first_teacher_has_no_parents_and_empty_parts_are_left_out() -> None:
    card = ModelCard(
        name="first", method="xpm", epoch=0, step=90, created_at_s=0.0, lineage=Lineage(code_version="0.1.0")
    )
    text = render_model_card(card)
    assert "No teacher: trained on masks alone." in text
    assert "## Results" not in text


def test_what_a_card_says_is_read_back_from_it() -> None:
    card = msgspec.structs.replace(CARD, architecture={"a|b": "x | y", "backbone": "resnet50"})
    sections = parse_model_card(render_model_card(card))
    assert sections[""].facts["a|b"] == "x | y"
    assert sections[""].facts["step"] == "5000"
    assert sections[""].lines == [], "the header's tags are no facts"
    assert sections["Vocabulary"].facts == {"base": "48", "target": "17", "captions": "12,345"}
    assert sections["Results"].rows[0] == ["setting", "target mask AP50", "base mask AP50"]
    assert sections["Results"].rows[2] == ["constrained", "24.00", ""]
    assert sections["Lineage"].lines == ["`student-e0001`, promotion 2, 40,000 labels trained", "`first`"]
    assert sections["Lineage"].facts["ledger sha256"] == "ab" * 32
    assert parse_model_card("no card at all") == {"": CardSection()}
