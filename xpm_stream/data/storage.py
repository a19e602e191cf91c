"""Where input lives: any fsspec URL, opened with errors that name it. Shell URLs are refused."""

from __future__ import annotations

import re
import sys
from typing import Any

import fsspec.core
from fsspec import AbstractFileSystem

from xpm_stream.errors import DataError

_SHELL_URL = re.compile(r"^\s*(pipe|cmd|exec|shell|file\+cmd):|^\s*\||\|\s*$", re.IGNORECASE)


def locate(url: str) -> tuple[AbstractFileSystem, str]:
    """Return the file system of an fsspec URL (or local path) and the path inside it.

    Raises:
        DataError: the URL would run a command, its protocol is unknown, or its driver is not installed.
    """
    refuse_shell(url)
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise DataError(f"{url}: the driver for this protocol is not installed ({error})") from error
    except ValueError as error:
        raise DataError(f"{url}: not a URL that fsspec can open ({error})") from error
    return filesystem, str(path)


def refuse_shell(url: str) -> None:
    """Refuse `pipe:` and other URLs that would run a command.

    Raises:
        DataError: the URL is one of those.
    """
    if _SHELL_URL.search(url):
        raise DataError(
            f"{url!r} would run a command: name the files by an fsspec URL (s3://, gs://, https://, a path)"
        )


def is_local(filesystem: AbstractFileSystem) -> bool:
    """Tell whether a file system is this machine's own."""
    protocol = filesystem.protocol
    return "file" in ((protocol,) if isinstance(protocol, str) else protocol)


def reads_ranges(filesystem: AbstractFileSystem, info: dict[str, Any]) -> bool:
    """Tell whether a store gives out byte ranges of a file; a web server must say that it does."""
    protocol = filesystem.protocol
    is_web = "http" in ((protocol,) if isinstance(protocol, str) else protocol)
    return bool(info.get("partial", not is_web))


def transport_errors() -> tuple[type[Exception], ...]:
    """Return what fsspec drivers raise when a store cannot be read; for `except transport_errors()`."""
    # aiohttp's errors are not OSError; it is loaded exactly when a driver that raises them is in use.
    aiohttp = sys.modules.get("aiohttp")
    return (OSError, aiohttp.ClientError) if aiohttp is not None else (OSError,)


def is_gone(error: Exception) -> bool:
    """Tell whether a store answered that there is no such file, and not that it cannot say."""
    return isinstance(_answer(error), FileNotFoundError)


def _answer(error: Exception) -> Exception:
    # fsspec's web driver calls everything that goes wrong in a look at a file FileNotFoundError.
    hidden = error.__cause__
    return hidden if isinstance(error, FileNotFoundError) and isinstance(hidden, transport_errors()) else error


def explain(error: Exception) -> str:
    """Say in a few words what a store answered."""
    error = _answer(error)
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}"


def read_bytes(url: str, *, what: str, error_class: type[DataError] = DataError) -> bytes:
    """Return the whole file at `url`; `what` names it in errors ("captions file", ...).

    Raises:
        DataError: (as `error_class`) the file cannot be read.
    """
    filesystem, path = locate(url)
    try:
        content: Any = filesystem.cat_file(path)
    except transport_errors() as error:
        raise error_class(f"cannot read {what} {url}: {explain(error)}") from error
    return bytes(content)
