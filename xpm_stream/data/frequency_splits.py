"""Base and target classes by how common they are: LVIS's frequency groups, and Open Images' 200 and 100 classes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from xpm_stream.data.coco_json import read_instances
from xpm_stream.data.open_images_files import read_class_names, read_masks
from xpm_stream.data.splits import Split
from xpm_stream.data.whole_folders import require_local
from xpm_stream.errors import BaseSetError


def lvis_split(annotations: str) -> Split:
    """Return frequent and common classes as base, rare ones as target, by the file's own `frequency`.

    Raises:
        BaseSetError: the file cannot be used, or has a category without a frequency.
    """
    categories = read_instances(annotations).categories
    strange = [category.name for category in categories if category.frequency not in ("f", "c", "r")]
    if strange:
        raise BaseSetError(
            f"{annotations}: category {strange[0]!r} has no frequency f, c or r; is this an LVIS annotation file?"
        )
    return Split(
        base=[category.name for category in categories if category.frequency != "r"],
        target=[category.name for category in categories if category.frequency == "r"],
    )


def open_images_split(masks: str, class_names: str, *, num_base: int = 200, num_target: int = 100) -> Split:
    """Return the classes with the most masks as base and those with the fewest as target, both most common first.

    Raises:
        BaseSetError: a table cannot be used, or has masks of too few classes.
    """
    names = read_class_names(class_names)
    counts = dict.fromkeys(names.values(), 0)
    for row in read_masks(masks):
        if row.label in names:
            counts[names[row.label]] += 1
    with_masks = {name: count for name, count in counts.items() if count}
    if num_base + num_target > len(with_masks):
        raise BaseSetError(
            f"{masks} has masks of {len(with_masks)} of the {len(names)} classes in {class_names}: "
            f"too few for {num_base} base and {num_target} target classes"
        )
    ranked = by_frequency(with_masks)
    return Split(base=ranked[:num_base], target=ranked[len(ranked) - num_target :])


def by_frequency(counts: Mapping[str, int]) -> list[str]:
    """Return the names, most common first, equal ones by name."""
    return sorted(counts, key=lambda name: (-counts[name], name))


def write_split(split: Split, output: Path) -> None:
    """Write a split file, in the form that `data.split.file` takes.

    Raises:
        ConfigError: the output is a URL.
    """
    require_local(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(msgspec.json.format(msgspec.json.encode(split), indent=2) + b"\n")
