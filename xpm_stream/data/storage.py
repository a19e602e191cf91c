"""Where input lives: any fsspec URL, opened with errors that name it. Shell URLs are refused."""

from __future__ import annotations

import re
import sys
from typing import Any, Final

import fsspec.core
from fsspec import AbstractFileSystem

from xpm_stream.errors import DataError

_SHELL_URL: Final = re.compile(r"^\s*(pipe|cmd|exec|shell|file\+cmd):|^\s*\||\|\s*$", re.IGNORECASE)
# These run code that the named file holds (templates, pickles), or hand the URL to another program.
_RUNS_CODE: Final = frozenset({"pipe", "cmd", "exec", "python", "pyscript", "reference", "dask", "jupyter", "jlab"})
# What drivers raise that is no OSError: of modules that are loaded exactly when such a driver is in use.
_DRIVER_ERRORS: Final = (
    ("aiohttp", "ClientError"),
    ("botocore.exceptions", "BotoCoreError"),  # no connection, no credentials
    ("botocore.exceptions", "ClientError"),
    ("gcsfs.retry", "HttpError"),
    ("google.auth.exceptions", "GoogleAuthError"),
    ("httpx", "HTTPError"),  # huggingface_hub's
    ("httpx2", "HTTPError"),
)
MAX_TEXT_FILE_BYTES: Final = 16 << 20  # splits and statistics
MAX_ANNOTATIONS_BYTES: Final = 8 << 30  # COCO's instances have 0.5 GiB, LVIS's 1.1


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
    """Refuse `pipe:`, `reference::` and other URLs that would run a command or code.

    Raises:
        DataError: the URL is one of those.
    """
    protocols = {re.split(r":", link.strip(), maxsplit=1)[0].lower() for link in url.split("::")}
    if _SHELL_URL.search(url) or (protocols & _RUNS_CODE and ":" in url):
        raise DataError(
            f"{url!r} would run a command or code: name the files by an fsspec URL (s3://, gs://, https://, a path)"
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
    loaded = [(sys.modules[module], name) for module, name in _DRIVER_ERRORS if module in sys.modules]
    return (OSError, *(getattr(module, name) for module, name in loaded if hasattr(module, name)))


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


def read_bytes(url: str, *, what: str, max_bytes: int, error_class: type[DataError] = DataError) -> bytes:
    """Return the whole file at `url`; `what` names it in errors ("captions file", ...).

    Raises:
        DataError: (as `error_class`) the file cannot be read, or has more than `max_bytes`.
    """
    filesystem, path = locate(url)
    try:
        if is_local(filesystem):
            size = int(filesystem.info(path)["size"])
            content: Any = filesystem.cat_file(path) if size <= max_bytes else b""
        else:  # in one request
            content = filesystem.cat_file(path, start=0, end=max_bytes + 1)
            size = len(content)
    except transport_errors() as error:
        raise error_class(f"cannot read {what} {url}: {explain(error)}") from error
    if size > max_bytes:
        raise error_class(f"{what} {url} has more than the limit of {max_bytes} bytes")
    return bytes(content)
