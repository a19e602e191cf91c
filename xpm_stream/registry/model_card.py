"""README.md of a checkpoint: the model card people and hubs expect, with the lineage of the weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import yaml

from xpm_stream.errors import CheckpointError

MODEL_CARD: Final = "README.md"
_CELLS: Final = re.compile(r"(?<!\\)\|")
_ITEM: Final = re.compile(r"(?:-|\d+\.) (.*)")


class Parent(msgspec.Struct, frozen=True, kw_only=True):
    """A teacher that labelled data for this model."""

    checkpoint: str
    promotion: int | None = None  # its number in the promotion log
    labels_trained: int | None = None


class Lineage(msgspec.Struct, frozen=True, kw_only=True):
    """Where the weights come from."""

    parents: list[Parent] = msgspec.field(default_factory=list)  # nearest first
    shards: int = 0  # caption shards with at least one trained sample
    samples: dict[str, int] = msgspec.field(default_factory=dict)  # e.g. trained, skipped
    ledger_sha256: str | None = None  # of the trained ledger (ledger.json)
    base_set: str | None = None
    run: str | None = None
    code_version: str


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """What a model card says."""

    name: str
    method: str
    epoch: int  # trainer epoch; 0: teacher training
    step: int  # optimiser step
    created_at_s: float  # Unix time
    lineage: Lineage
    architecture: dict[str, str | int | float | bool | None] = msgspec.field(default_factory=dict)
    vocabulary: dict[str, int] = msgspec.field(default_factory=dict)  # number of words by set: base, target, captions
    metrics: dict[str, dict[str, float]] = msgspec.field(default_factory=dict)  # setting -> measure -> value
    gate: list[str] = msgspec.field(default_factory=list)  # the promotion gate's checks, in words
    license: str | None = None


def render_model_card(card: ModelCard | Mapping[str, Any]) -> str:
    """Return the text of README.md: a YAML header as hubs read it, then the tables.

    Raises:
        CheckpointError: a mapping lacks a field or holds one of the wrong type.
    """
    if isinstance(card, Mapping):
        try:
            card = msgspec.convert(card, ModelCard)
        except msgspec.ValidationError as error:
            raise CheckpointError(f"cannot write a model card: {error}") from error
    created = datetime.fromtimestamp(card.created_at_s, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    facts = {"method": card.method, "trainer epoch": card.epoch, "step": card.step, "created": created}
    sections = [
        _header(card),
        f"# {card.name}\n\nOpen-vocabulary instance segmentation, trained with `{card.method}` by xpm_stream.",
        _table(("", ""), facts | card.architecture),
        _section("Vocabulary", _table(("set", "words"), card.vocabulary)),
        _section("Results", _results(card.metrics)),
        _section("Promotion gate", "\n".join(f"- {line}" for line in card.gate)),
        _section("Lineage", _lineage(card.lineage)),
        _section("Files", "`manifest.json` holds the sha256 of every file; loading checks them."),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


class CardSection(msgspec.Struct, frozen=True, kw_only=True):
    """What one section of a model card says."""

    facts: dict[str, str] = msgspec.field(default_factory=dict)  # of its tables with two columns
    rows: list[list[str]] = msgspec.field(default_factory=list)  # of its wider tables, head first
    lines: list[str] = msgspec.field(default_factory=list)  # of its lists


def parse_model_card(text: str) -> dict[str, CardSection]:
    """Return what a card that `render_model_card` wrote says, by section; the facts before the first have no title."""
    sections: dict[str, CardSection] = {}
    current = sections.setdefault("", CardSection())
    for line in text.partition("\n# ")[2].splitlines():
        if line.startswith("## "):
            current = sections.setdefault(line.removeprefix("## "), CardSection())
        elif line.startswith("| "):
            cells = [cell.strip().replace("\\|", "|") for cell in _CELLS.split(line.strip().strip("|"))]
            if len(cells) > 2 and set(cells) != {"---"}:
                current.rows.append(cells)
            elif len(cells) == 2 and cells[0] not in ("", "---", "set"):
                current.facts[cells[0]] = cells[1]
        elif (item := _ITEM.match(line)) is not None:
            current.lines.append(item[1])
    return sections


def _header(card: ModelCard) -> str:
    header = {
        "library_name": "xpm-stream",
        "pipeline_tag": "image-segmentation",
        "tags": ["open-vocabulary", "instance-segmentation", card.method],
    }
    if card.license:
        header["license"] = card.license
    return f"---\n{yaml.safe_dump(header, sort_keys=False)}---"


def _lineage(lineage: Lineage) -> str:
    parents = [
        f"{depth}. `{parent.checkpoint}`"
        + (f", promotion {parent.promotion}" if parent.promotion is not None else "")
        + (f", {parent.labels_trained:,} labels trained" if parent.labels_trained is not None else "")
        for depth, parent in enumerate(lineage.parents, start=1)
    ]
    facts: dict[str, object] = {"code version": lineage.code_version, "caption shards": lineage.shards}
    facts |= {f"samples {reason}": count for reason, count in lineage.samples.items()}
    facts |= {
        name: value
        for name, value in (
            ("ledger sha256", lineage.ledger_sha256),
            ("base set", lineage.base_set),
            ("run", lineage.run),
        )
        if value is not None
    }
    teachers = "Teachers, nearest first:\n\n" + "\n".join(parents) if parents else "No teacher: trained on masks alone."
    return teachers + "\n\n" + _table(("", ""), facts)


def _results(metrics: Mapping[str, Mapping[str, float]]) -> str:
    measures = list(dict.fromkeys(measure for row in metrics.values() for measure in row))
    rows = [
        [setting, *(f"{row[measure]:.2f}" if measure in row else "" for measure in measures)]
        for setting, row in metrics.items()
    ]
    return _rows(["setting", *measures], rows) if rows else ""


def _table(head: tuple[str, str], facts: Mapping[str, object]) -> str:
    rows = [
        [name, f"{value:,}" if isinstance(value, int) and value >= 10_000 else str(value)]
        for name, value in facts.items()
    ]
    return _rows(list(head), rows) if rows else ""


def _rows(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}" if body else ""
