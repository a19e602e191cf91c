"""Tables of the documentation that a benchmark writes, so that one command refreshes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class MarkerMissing(ValueError):
    """A page has no place for a table."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column to the left, the others to the right."""
    lines = [_line(head), _line(["---", *["---:"] * (len(head) - 1)]), *map(_line, rows)]
    return "\n".join(lines)


def write_between_markers(page: Path, *, name: str, text: str) -> None:
    """Replace what stands between `<!-- NAME -->` and `<!-- /NAME -->` in a page.

    Raises:
        MarkerMissing: the page does not have both.
    """
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found and found_end):
        raise MarkerMissing(f"{page} has no `{begin}` ... `{end}`: add both where the table belongs")
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
