"""Class names as people write them: LVIS's underscores and qualifiers away, unless two classes would become one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def plain_class_names(names: Sequence[str]) -> list[str]:
    """Return LVIS category names as words: `aerosol_can` -> `aerosol can`, `bow_(weapon)` -> `bow`.

    Where several names would become the same, those with a qualifier keep it: `bow_(weapon)` -> `bow (weapon)`. What
    stands behind a qualifier goes with it (`monitor_(computer_equipment) computer_monitor` -> `monitor`).
    """
    short = [name.partition("_(")[0].replace("_", " ").strip() for name in names]
    shared = Counter(short)
    return [plain if shared[plain] == 1 else _qualified(name) for name, plain in zip(names, short, strict=True)]


def _qualified(name: str) -> str:
    head, mark, rest = name.partition("_(")
    qualifier = rest.partition(")")[0]
    return (f"{head} ({qualifier})" if mark else head).replace("_", " ").strip()
