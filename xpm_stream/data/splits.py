"""Which class names are base (annotated in training) and which are target (only in captions and at evaluation)."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence

import msgspec

from xpm_stream.data.storage import MAX_TEXT_FILE_BYTES, read_bytes
from xpm_stream.errors import BaseSetError, ConfigError, DataError

# The COCO 48/17 split of open-vocabulary detection (METHODS 1.5; Bansal et al. 2018), in its customary order.
_COCO_BASE = (
    "toilet,bicycle,apple,train,laptop,carrot,motorcycle,oven,chair,mouse,boat,kite,sheep,horse,sandwich,clock,tv,"
    "backpack,toaster,bowl,microwave,bench,book,orange,bird,pizza,fork,frisbee,bear,vase,toothbrush,spoon,giraffe,"
    "handbag,broccoli,refrigerator,remote,surfboard,car,bed,banana,donut,skis,person,truck,bottle,suitcase,zebra"
)
_COCO_TARGET = (
    "umbrella,cow,cup,bus,keyboard,skateboard,dog,couch,tie,snowboard,sink,elephant,cake,scissors,airplane,cat,knife"
)


class Split(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base and target class names, by the names of the annotated set."""

    base: list[str]
    target: list[str]

    @property
    def all(self) -> list[str]:
        """Base names, then target names."""
        return [*self.base, *self.target]


COCO_48_17 = Split(base=_COCO_BASE.split(","), target=_COCO_TARGET.split(","))
BUILT_IN = {"coco_48_17": COCO_48_17}


def load_split(name_or_url: str) -> Split:
    """Return a built-in split by name, or read one from a JSON file `{"base": [...], "target": [...]}`.

    Raises:
        ConfigError: there is no such split or file, it is not of that form, or a class is named twice.
    """
    if name_or_url in BUILT_IN:
        return BUILT_IN[name_or_url]
    try:
        content = read_bytes(name_or_url, what="split file", max_bytes=MAX_TEXT_FILE_BYTES)
        split = msgspec.json.decode(content, type=Split)
    except DataError as error:
        raise ConfigError(f"{error} (built-in splits: {', '.join(BUILT_IN)})") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f'split file {name_or_url} is not {{"base": [...], "target": [...]}}: {error}') from error
    _check(split, name_or_url)
    return split


def check_classes(class_names: Sequence[str], *, known: Collection[str], source: str) -> None:
    """Check that a set knows every class name.

    Raises:
        BaseSetError: it does not; the nearest known name is suggested.
    """
    known_names = sorted(known)
    complaints = []
    for name in class_names:
        if name not in known:
            nearest = difflib.get_close_matches(name, known_names, n=1)
            complaints.append(f"{name!r}" + (f" (did you mean {nearest[0]!r}?)" if nearest else ""))
    if complaints:
        raise BaseSetError(f"{source} has no category {', '.join(complaints)}; it has {len(known_names)} categories")


def _check(split: Split, source: str) -> None:
    both = sorted(set(split.base) & set(split.target))
    if both:
        raise ConfigError(f"split file {source}: {', '.join(both)} cannot be both base and target")
    for part, names in (("base", split.base), ("target", split.target)):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(f"split file {source}: {', '.join(twice)} is named twice in {part!r}")
    if not split.base:
        raise ConfigError(f"split file {source}: 'base' names no class, so nothing could be learnt")
