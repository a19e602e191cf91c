"""Open Images' files as they are downloaded: class descriptions, tables of masks, boxes and image labels, hierarchy.

Tables are read row by row (the one of training boxes has 14 million), by their columns' names, from any fsspec URL.
"""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from xpm_stream.data.storage import MAX_TEXT_FILE_BYTES, explain, locate, read_bytes, transport_errors
from xpm_stream.errors import BaseSetError

DESCRIPTION: Final = "Open Images"  # `info.description` of the instance JSON: the evaluation knows the set by it
_MASK_BOX: Final = ("BoxXMin", "BoxYMin", "BoxXMax", "BoxYMax")
_BOX: Final = ("XMin", "YMin", "XMax", "YMax")

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 as shares of the image's sides


@dataclass(frozen=True, slots=True)
class MaskRow:
    """One instance mask."""

    path: str  # of the PNG
    image: str
    label: str  # e.g. /m/0bt9lr
    box: Box
    line: int  # of the table


@dataclass(frozen=True, slots=True)
class BoxRow:
    """One box."""

    image: str
    label: str
    box: Box
    is_group: bool


@dataclass(frozen=True, slots=True)
class LabelRow:
    """What a person said of an image: a class is there, or is not."""

    image: str
    label: str
    is_there: bool


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Which classes are kinds of which."""

    parents: Mapping[str, frozenset[str]] = field(default_factory=dict)  # label -> all labels above it
    children: Mapping[str, frozenset[str]] = field(default_factory=dict)  # label -> all labels below it

    def with_parents(self, label: str) -> frozenset[str]:
        """Return the label and everything it is a kind of."""
        return self.parents.get(label, frozenset()) | {label}

    def with_children(self, label: str) -> frozenset[str]:
        """Return the label and everything that is a kind of it."""
        return self.children.get(label, frozenset()) | {label}


def read_class_names(url: str) -> dict[str, str]:
    """Return name by label, in file order: `/m/0bt9lr,Dog` gives `dog` (captions are read in lower case, too).

    Raises:
        BaseSetError: the file cannot be read, is no such table, or names two classes alike, or one class twice.
    """
    what = "class descriptions"
    content = read_bytes(url, what=what, max_bytes=MAX_TEXT_FILE_BYTES, error_class=BaseSetError)
    try:
        rows = [row for row in csv.reader(io.StringIO(content.decode("utf-8-sig"))) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise BaseSetError(f"{what} {url} is not a CSV table: {error}") from error
    if rows and rows[0][0] == "LabelName":
        rows = rows[1:]
    strange = next((row for row in rows if len(row) < 2 or not row[0].strip() or not row[1].strip()), None)
    if not rows or strange:
        found = f", not {','.join(strange)!r}" if strange else "; it has none"
        raise BaseSetError(f"{what} {url} must have rows LABEL,NAME, as in `/m/0bt9lr,Dog`{found}")
    labels = Counter(row[0] for row in rows)
    if len(labels) < len(rows):
        raise BaseSetError(f"{what} {url}: {labels.most_common(1)[0][0]} is there more than once")
    names = {row[0]: row[1].strip().lower() for row in rows}
    twice = [name for name, count in Counter(names.values()).items() if count > 1]
    if twice:
        raise BaseSetError(f"{what} {url}: several labels are named {', '.join(map(repr, twice[:3]))}")
    return names


def read_masks(url: str) -> Iterator[MaskRow]:
    """Yield the rows of a table of instance masks (`...-annotations-object-segmentation.csv`).

    Raises:
        BaseSetError: the table cannot be read, lacks a column, or has a box that is none.
    """
    for line, row in _rows(url, ("MaskPath", "ImageID", "LabelName", *_MASK_BOX)):
        box = _box(row, _MASK_BOX, f"{url}, line {line}")
        yield MaskRow(row["MaskPath"], row["ImageID"], row["LabelName"], box, line)


def read_boxes(url: str) -> Iterator[BoxRow]:
    """Yield the rows of a table of boxes (`...-annotations-bbox.csv`).

    Raises:
        BaseSetError: the table cannot be read, lacks a column, or has a box that is none.
    """
    for line, row in _rows(url, ("ImageID", "LabelName", *_BOX, "IsGroupOf")):
        where = f"{url}, line {line}"
        box, is_group = _box(row, _BOX, where), row["IsGroupOf"].strip()
        if is_group not in ("0", "1", "-1"):
            raise BaseSetError(f"{where}: IsGroupOf is {is_group!r}, not 0, 1 or -1 (unknown)")
        yield BoxRow(row["ImageID"], row["LabelName"], box, is_group == "1")


def read_image_labels(url: str) -> Iterator[LabelRow]:
    """Yield what people verified (`...-annotations-human-imagelabels.csv`); machines' guesses are passed over.

    Raises:
        BaseSetError: the table cannot be read or lacks a column.
    """
    for line, row in _rows(url, ("ImageID", "LabelName", "Confidence")):
        if row.get("Source") == "machine":
            continue
        confidence = _number(row["Confidence"], f"{url}, line {line}")
        if confidence not in (0.0, 1.0):
            raise BaseSetError(
                f"{url}, line {line}: confidence {row['Confidence']} is no person's answer (0 or 1); "
                "the table of human-verified labels is needed"
            )
        yield LabelRow(row["ImageID"], row["LabelName"], confidence == 1.0)


def read_hierarchy(url: str) -> Hierarchy:
    """Read a class hierarchy (`...-hierarchy.json`): nested `LabelName` and `Subcategory`; parts are no kinds.

    Raises:
        BaseSetError: the file cannot be read, or is no such tree.
    """
    content = read_bytes(url, what="class hierarchy", max_bytes=MAX_TEXT_FILE_BYTES, error_class=BaseSetError)
    parents: dict[str, set[str]] = defaultdict(set)
    children: dict[str, set[str]] = defaultdict(set)

    def visit(node: Any, above: Sequence[str]) -> None:
        label = node["LabelName"]
        parents[label].update(above)
        for parent in above:
            children[parent].add(label)
        for child in node.get("Subcategory", ()):
            visit(child, (*above, label))

    try:
        visit(msgspec.json.decode(content), ())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise BaseSetError(f"class hierarchy {url} is no tree of LabelName and Subcategory: {error!r}") from error
    return Hierarchy(
        {label: frozenset(above) for label, above in parents.items()},
        {label: frozenset(below) for label, below in children.items()},
    )


def _rows(url: str, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    filesystem, path = locate(url)
    try:
        with filesystem.open(path, "rt", encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise BaseSetError(f"{url} has no column {', '.join(missing)}; it begins {reader.fieldnames}")
            for row in reader:
                if any(row[name] is None for name in columns):
                    raise BaseSetError(f"{url}, line {reader.line_num}: the row ends too early")
                empty = [name for name in columns if not row[name].strip()]
                if empty:
                    raise BaseSetError(f"{url}, line {reader.line_num}: {', '.join(empty)} is empty")
                yield reader.line_num, row
    except transport_errors() as error:
        raise BaseSetError(f"cannot read {url}: {explain(error)}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BaseSetError(f"{url} is not a CSV table: {error}") from error


def _box(row: Mapping[str, str], names: Sequence[str], where: str) -> Box:
    x0, y0, x1, y1 = (_number(row[name], where) for name in names)
    if not (x0 <= x1 and y0 <= y1 and min(x0, y0) >= -0.01 and max(x1, y1) <= 1.01):
        raise BaseSetError(f"{where}: {x0}, {y0}, {x1}, {y1} is no box in shares of the image's sides")
    return max(x0, 0.0), max(y0, 0.0), min(x1, 1.0), min(y1, 1.0)


def _number(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise BaseSetError(f"{where}: {text!r} is no number") from error
