"""Output folders that appear only when they are whole."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from xpm_stream.errors import ConfigError

_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # a path has lost one of a URL's slashes


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder beside `folder` to write into; it takes that name at the end, or is removed after an error.

    Raises:
        ConfigError: there is something at `folder`, another is writing it, or it is a URL.
    """
    require_local(folder)
    _require_free(folder)
    partial = folder.with_name(f"{folder.name}.partial")
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        partial.mkdir()
    except FileExistsError as error:
        raise ConfigError(
            f"{partial} is there: another is writing {folder}, or was killed while it did; then remove {partial.name}"
        ) from error
    try:
        yield partial
        _require_free(folder)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def require_local(output: Path) -> None:
    """Refuse a URL that was given as a path, which would become a folder called `s3:`.

    Raises:
        ConfigError: it is one.
    """
    if _URL.match(str(output)):
        raise ConfigError(f"{output} is a URL: write to a place on this machine, and copy it from there")


def _require_free(folder: Path) -> None:
    if folder.exists():
        raise ConfigError(f"{folder} exists: nothing is overwritten; choose another place, or remove it")
