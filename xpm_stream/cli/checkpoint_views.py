"""Checkpoints of a registry as tables: all of them, one, and what differs between two."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from xpm_stream.cli.checkpoint_table import gates_table
from xpm_stream.cli.shard_table import utc
from xpm_stream.registry.cache import CachedCopy
from xpm_stream.registry.comparing import Difference, ModuleChange
from xpm_stream.registry.inventory import Description, Listed

_STATUS_STYLES: Final = {
    "champion": "bold green",
    "promoted": "green",
    "revoked": "bold red",
    "refused": "red",
    "inconclusive": "yellow",
    "waiting": "cyan",
}
_MOST_WORDS: Final = 40
_UNITS: Final = ("B", "kB", "MB", "GB", "TB")


def print_listed(console: Console, listed: Sequence[Listed], *, where: str) -> None:
    """Print a line for each checkpoint, the newest last."""
    if not listed:
        console.print(Text(f"{where} has no checkpoints yet"), soft_wrap=True)
        return
    table = _table("checkpoint", "status")
    for name in ("entry", "step", "files", "size"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("created", no_wrap=True)
    table.add_column("pinned", overflow="fold")
    for one in listed:
        table.add_row(
            Text(one.info.name, "bold" if one.status == "champion" else ""),
            _status(one),
            "" if one.entry is None else str(one.entry),
            str(one.info.metadata.get("step", "")),
            str(len(one.info.files)),
            human_bytes(one.info.size),
            utc(one.info.created_at_s),
            Text(one.pinned or ""),
        )
    console.print(table)


def print_description(console: Console, described: Description) -> None:
    """Print what is known of one checkpoint."""
    info = described.listed.info
    console.print(
        Text.assemble(
            (info.name, "bold"), "  ", _status(described.listed, entry=True), (f"  {described.where}", "dim")
        ),
        soft_wrap=True,
    )
    facts = {"created": utc(info.created_at_s), "size": human_bytes(info.size), "sha256": info.digest}
    facts |= {"pinned": described.listed.pinned} if described.listed.pinned else {}
    card = described.card.get("")
    facts |= {key: value for key, value in (card.facts if card else {}).items() if key not in facts and value != "None"}
    _section(console, "Model", _facts(facts))
    _section(console, "Vocabulary", _facts(_vocabulary(described)))
    lineage = described.card.get("Lineage")
    if lineage is not None:
        _section(console, "Lineage", Group(_lineage(info.name, lineage.lines), _facts(lineage.facts)))
    if described.gates:
        _section(console, "Gates", gates_table(described.gates))
    if described.measures:
        _section(console, "Measures", _facts({name: _number(value) for name, value in described.measures.items()}))
    files = _table("file")
    files.add_column("size", justify="right")
    files.add_column("sha256", style="dim")
    for name, digest in info.files.items():
        files.add_row(Text(name), human_bytes(digest.size), digest.sha256[:16])
    _section(console, "Files", files)


def print_difference(console: Console, found: Difference) -> None:
    """Print what differs from A to B, section by section; what does not is said in a line."""
    console.print(Text.assemble(("A ", "cyan"), found.a, "   ", ("B ", "magenta"), found.b), soft_wrap=True)
    if found.config:
        settings = _two_columns("setting")
        for key, (a, b) in found.config.items():
            settings.add_row(Text(key), Text(_value(a)), Text(_value(b)))
        _section(console, "Configuration", settings)
    else:
        _section(console, "Configuration", Text("the same"))
    _section(console, "Vocabulary", _words_table(found))
    if found.measures:
        _section(console, "Measures", _measures_table(found.measures))
    comparable = not (found.tensors_only_a or found.tensors_only_b or found.tensors_reshaped)
    same = "the same" if comparable else "the same in the tensors that can be compared"
    _section(console, "Weights", _weights_table(found.modules, same=same))
    for title, names in (
        ("tensors of A only", found.tensors_only_a),
        ("tensors of B only", found.tensors_only_b),
        ("tensors of another shape", found.tensors_reshaped),
    ):
        if names:
            console.print(Text(f"  {title}: {_some(names)}", "yellow"), soft_wrap=True)


def print_cached(console: Console, copies: Sequence[CachedCopy], *, before: Sequence[CachedCopy], where: str) -> None:
    """Print a line for each copy, the last used last, and what has become of those `before`."""
    if copies:
        table = _table("checkpoint")
        table.add_column("size", justify="right", no_wrap=True)
        table.add_column("last used", no_wrap=True)
        table.add_column("")
        for copy in copies:
            told = Text("" if copy.whole else "not whole: a pull goes on, or broke off", "yellow")
            table.add_row(Text(copy.name), human_bytes(copy.size), utc(copy.used_at_s), told)
        console.print(table)
    gone = len(before) - len(copies)
    removed = f"{gone} removed; " if gone > 0 else ""
    held = f"{len(copies)} checkpoints, {human_bytes(sum(copy.size for copy in copies))}"
    console.print(Text(f"{removed}{held} in {where}"), soft_wrap=True)


def human_bytes(count: float) -> str:
    """Return a number of bytes with a decimal unit."""
    unit = 0
    while count >= 1000 and unit < len(_UNITS) - 1:
        count /= 1000
        unit += 1
    return f"{count:,.0f} {_UNITS[unit]}" if unit == 0 else f"{count:,.1f} {_UNITS[unit]}"


def _status(listed: Listed, *, entry: bool = False) -> Text:
    number = f", entry {listed.entry}" if entry and listed.entry is not None else ""
    return Text(
        f"{'' if listed.status == 'alone' else listed.status}{number}", _STATUS_STYLES.get(listed.status, "dim")
    )


def _vocabulary(described: Description) -> dict[str, str]:
    facts = {"base": f"{len(described.base_words)}: {_some(described.base_words)}"}
    if described.words is not None:
        learned = [word for word in described.words if word not in set(described.base_words)]
        facts["from captions"] = f"{len(learned)}: {_some(learned)}" if learned else "0"
    return facts


def _lineage(name: str, parents: Sequence[str]) -> RenderableType:
    tree = Tree(Text(name, "bold"), guide_style="dim")
    branch = tree
    for parent in parents:
        labels = re.sub(r"`([^`]*)`", r"\1", parent)
        branch = branch.add(Text(labels))
    if not parents:
        tree.add(Text("no teacher: trained on masks alone", "dim"))
    return tree


def _words_table(found: Difference) -> RenderableType:
    rows = {
        "words of B only": found.words_added,
        "words of A only": found.words_removed,
        "base classes of B only": found.base_added,
        "base classes of A only": found.base_removed,
    }
    facts = {title: f"{len(words)}: {_some(words)}" for title, words in rows.items() if words}
    return _facts(facts) if facts else Text("the same")


def _measures_table(measures: dict[str, tuple[float | None, float | None]]) -> Table:
    table = _two_columns("measure", justify="right")
    table.add_column("B - A", justify="right")
    for name, (a, b) in measures.items():
        moved = None if a is None or b is None else b - a
        table.add_row(Text(name), _number(a), _number(b), "+" * (moved is not None and moved > 0) + _number(moved))
    return table


def _weights_table(modules: Sequence[ModuleChange], *, same: str) -> RenderableType:
    if all(one.change == 0 for one in modules):  # NaN is not
        return Text(same if modules else "no tensor in common", "" if modules else "yellow")
    table = _table()
    table.add_column("module", no_wrap=True)
    for name in ("tensors", "parameters", "norm of A", "norm of B - A", "relative"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("moved most", overflow="fold", style="dim")
    top = max(one.relative or 0.0 for one in modules)
    for one in modules:
        relative = one.relative
        table.add_row(
            Text(one.module),
            f"{one.tensors:,}",
            f"{one.parameters:,}",
            f"{one.norm:,.4g}",
            f"{one.change:,.4g}",
            _share(one),
            Text("█" * round(10 * (relative or 0.0) / top) if top > 0 else "", "magenta"),
            Text(one.largest.removeprefix(f"{one.module}.")),
        )
    return table


def _share(one: ModuleChange) -> Text:
    if not math.isfinite(one.change):
        return Text("not finite", "bold red")
    return Text("" if one.relative is None else f"{one.relative:.1%}")


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def _two_columns(what: str, *, justify: Any = "left") -> Table:
    table = _table(what)
    for name, style in (("A", "cyan"), ("B", "magenta")):
        table.add_column(name, justify=justify, style=style, overflow="fold")
    return table


def _facts(facts: dict[str, str]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(Text(name), Text(value))
    return table


def _section(console: Console, title: str, body: RenderableType) -> None:
    console.print(Text(f"\n{title}", "bold"))
    console.print(Padding(body, (0, 0, 0, 2), expand=False))


def _some(words: Iterable[str]) -> str:
    every = list(words)
    return ", ".join(every[:_MOST_WORDS]) + (f", ... ({len(every)})" if len(every) > _MOST_WORDS else "")


def _value(value: Any) -> str:
    return "not set" if value is None else str(value)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{round(value):,}" if float(value).is_integer() else f"{value:,.4g}"
