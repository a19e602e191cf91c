"""YAML in, a validated RunConfig out; messages name the key, the reason, and the nearest known name."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from xpm_stream.config.schema import RunConfig
from xpm_stream.errors import ConfigError


def load_config(path: str | Path, *, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a YAML file, apply `section.key=value` overrides, validate.

    Raises:
        ConfigError: the file is missing or not YAML, a key is unknown, or a value is out of range.
    """
    source = Path(path)
    try:
        text = source.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read configuration {source}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{source} is not a YAML text in UTF-8: {error}") from error
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source} is not valid YAML: {error}") from error
    if tree is None:  # an empty file: all defaults
        tree = {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{source} must hold a mapping of sections, not {type(tree).__name__}")
    for override in overrides:
        _apply_override(tree, override)
    return parse_config(tree, source=str(source))


def config_of_run(run: str | Path) -> RunConfig:
    """Return the configuration of a run folder, with the folder where it is now: it may be a copy, or have been moved.

    Raises:
        ConfigError: it is no run folder, or its configuration cannot be used.
    """
    folder = Path(run)
    if not folder.is_dir():
        raise ConfigError(f"there is no run folder {folder}")
    file = folder / "config.yaml"
    if not file.is_file():
        raise ConfigError(
            f"{folder} is no run folder: it has no config.yaml (xpm-stream up and every role leave {file})"
        )
    return load_config(file).model_copy(update={"folder": str(folder.absolute())})


def parse_config(tree: Mapping[str, Any], *, source: str) -> RunConfig:
    """Validate a configuration tree; `source` names it in errors.

    Raises:
        ConfigError: with one line for each thing that is wrong.
    """
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        lines = [_explain(item["loc"], item["type"], item["msg"], item["input"]) for item in error.errors()]
        raise ConfigError(f"{source}: " + "; ".join(lines)) from error


def save_resolved(config: RunConfig, folder: str | Path) -> Path:
    """Write the resolved configuration, defaults included, to `config.yaml` in `folder`."""
    target = Path(folder) / "config.yaml"
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")  # several roles may write it at once
    partial.touch(mode=0o600)  # redis.url may hold a password
    partial.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
    partial.replace(target)  # in one step: the run's roles read it
    return target


def _apply_override(tree: dict[str, Any], override: str) -> None:
    key, separator, raw = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"override {override!r} is not of the form section.key=value")
    try:
        value = yaml.safe_load(raw)
    except yaml.YAMLError as error:
        raise ConfigError(f"override {override!r}: the value is not valid YAML: {error}") from error
    *parents, last = key.split(".")
    node = tree
    for name in parents:
        if node.get(name) is None:  # not there, or a section whose keys are all commented out
            node[name] = {}
        child = node[name]
        if not isinstance(child, dict):
            raise ConfigError(f"override {override!r}: {name!r} is a value, not a section")
        node = child
    node[last] = value


def _explain(location: tuple[int | str, ...], kind: str, message: str, value: object) -> str:
    path = ".".join(str(part) for part in location)
    if not path:  # about several sections at once; the message names them
        return message.removeprefix("Value error, ")
    if kind in ("model_type", "model_attributes_type") and value is None:
        return f"{path}: the section is empty: give it keys, or remove it"
    if kind != "extra_forbidden":
        return f"{path}: {message} (got {value!r})"
    nearest = difflib.get_close_matches(path, _known_keys(RunConfig), n=1, cutoff=0.5)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    return f"unknown key {path!r}{hint}"


def _known_keys(section: type[BaseModel], prefix: str = "") -> Iterable[str]:
    for name, field in section.model_fields.items():
        yield prefix + name
        for candidate in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                yield from _known_keys(candidate, f"{prefix}{name}.")
