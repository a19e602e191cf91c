"""The configuration reference, from the schema: `python -m xpm_stream.config.reference > docs/configuration.md`."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any, Final, Literal, Union, get_args, get_origin

import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from xpm_stream.config.schema import RunConfig
from xpm_stream.config.sections import Section

_HEAD: Final = """\
# Configuration

Written from `xpm_stream/config/schema.py`; do not edit. To write it again:

```sh
python -m xpm_stream.config.reference > docs/configuration.md
```

A configuration is one YAML file. Every key has a default except those marked *required*; an unknown key or a value out
of range is an error that names the key (and the nearest known one). Any value can be set on the command line:
`xpm-stream up CONFIG --set trainer.steps=100 --set 'data.shards=[/data/a.tar]'` (the value is read as YAML). The
resolved configuration, defaults included, is saved as `config.yaml` in the run folder; `up` starts all roles with it.
Units are in the names: `_s` seconds, `_mb` MiB, `_ms` milliseconds, `_xyxy` corners in pixels.
"""
_COLUMNS: Final = "| key | type | default | range | meaning |\n|---|---|---|---|---|\n"
_SIGNS: Final = ((Ge, "ge", "≥"), (Gt, "gt", ">"), (Le, "le", "≤"), (Lt, "lt", "<"))


def render_reference() -> str:
    """Return the page as Markdown."""
    parts = [_HEAD]
    for path, section in _sections(RunConfig, ""):
        title = f"`{path}`" if path else "Top level"
        rows = [_row(name, field) for name, field in section.model_fields.items() if not _is_plain_section(field)]
        if rows:
            parts.append(f"\n## {title}\n\n{(section.__doc__ or '').strip()}\n\n{_COLUMNS}" + "".join(rows))
    return "".join(parts)


def undescribed_keys() -> list[str]:
    """Return the keys that say nothing of themselves."""
    return [
        f"{path}.{name}".lstrip(".")
        for path, section in _sections(RunConfig, "")
        for name, field in section.model_fields.items()
        if not field.description and _section_of(field) is None
    ]


def _sections(section: type[Section], path: str) -> Iterator[tuple[str, type[Section]]]:
    yield path, section
    for name, field in section.model_fields.items():
        inner = _section_of(field)
        if inner is not None:
            yield from _sections(inner, f"{path}.{name}".lstrip("."))


def _section_of(field: FieldInfo) -> type[Section] | None:
    for candidate in (field.annotation, *get_args(field.annotation)):
        if isinstance(candidate, type) and issubclass(candidate, Section):
            return candidate
    return None


def _is_plain_section(field: FieldInfo) -> bool:
    """A section that is always there needs no row beside its own heading."""
    return _section_of(field) is field.annotation


def _row(name: str, field: FieldInfo) -> str:
    cells = (f"`{name}`", _type(field.annotation), _default(field), _range(field), _meaning(field))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _type(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if origin in (Union, types.UnionType):
        return " or ".join(_type(part) for part in get_args(annotation))
    if origin is list:
        return f"list of {_type(get_args(annotation)[0])}"
    if origin is dict:
        return "mapping"
    if annotation is type(None):
        return "none"
    if hasattr(annotation, "__metadata__"):
        return _type(get_args(annotation)[0])
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return "section"
    return {str: "text", int: "integer", float: "number", bool: "true or false"}[annotation]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*required*"
    value = field.get_default(call_default_factory=True, validated_data={})
    assert value is not PydanticUndefined
    return f"`{yaml.safe_dump(value, default_flow_style=True, allow_unicode=True).partition(chr(10))[0]}`"


def _range(field: FieldInfo) -> str:
    limits = [*field.metadata]
    for part in (field.annotation, *get_args(field.annotation)):
        limits += getattr(part, "__metadata__", ())
    flat = [limit for item in limits for limit in (item.metadata if isinstance(item, FieldInfo) else (item,))]
    shown = [f"{sign} {getattr(limit, name):g}" for kind, name, sign in _SIGNS for limit in flat if type(limit) is kind]
    patterns = [f"matches `{limit.pattern}`" for limit in flat if getattr(limit, "pattern", None)]
    return ", ".join([*shown, *patterns])


def _meaning(field: FieldInfo) -> str:
    inner = _section_of(field)
    if field.description or inner is None:
        return field.description or ""
    return (inner.__doc__ or "").strip()


if __name__ == "__main__":
    print(render_reference(), end="")
