"""`manifest.json` of a checkpoint: what files it has, their sha256, and what is known of them."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, Final

import msgspec

from xpm_stream.errors import CheckpointError
from xpm_stream.registry.store import FileDigest

MANIFEST: Final = "manifest.json"
_FORMAT: Final = 1
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class CheckpointInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a checkpoint without reading its files (its `manifest.json`)."""

    format: int = _FORMAT
    name: str
    order: tuple[int, ...]  # e.g. (epoch, step): the highest is the latest, whatever the clocks say
    sequence: int  # breaks ties of `order`: grows with every checkpoint of the store
    created_at_s: float  # Unix time
    metadata: dict[str, Any]  # JSON values
    files: dict[str, FileDigest]
    digest: str = ""  # sha256 over everything above: the identity of the whole checkpoint

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(digest.size for digest in self.files.values())


def can_name(text: str) -> bool:
    """Whether a checkpoint or a file of one can be called this: a name, no path."""
    return _NAME.fullmatch(text) is not None


def seal(info: CheckpointInfo) -> tuple[CheckpointInfo, bytes]:
    """Return `info` with its digest, and the bytes of its manifest.

    Raises:
        CheckpointError: the metadata holds something that is not JSON.
    """
    try:
        # Through JSON and back, so that what `write` returns is what `list` will.
        tree = json.loads(msgspec.json.encode(info))
    except TypeError as error:
        raise CheckpointError(f"metadata of checkpoint {info.name!r} must be JSON values: {error}") from error
    tree["digest"] = _digest(tree)
    return msgspec.convert(tree, CheckpointInfo), json.dumps(tree, indent=2, allow_nan=False).encode() + b"\n"


def parse_manifest(data: bytes, *, name: str | None, url: str) -> CheckpointInfo:
    """Decode and check a manifest; `name` is what its checkpoint must be called, none: whatever it says.

    Raises:
        CheckpointError: it is damaged, of another checkpoint, or of a newer format.
    """
    where = f"checkpoint {name!r} in {url}" if name is not None else f"the checkpoint at {url}"
    try:
        tree = json.loads(data)
        if isinstance(tree, dict) and isinstance(tree.get("format"), int) and tree["format"] > _FORMAT:
            raise CheckpointError(
                f"{where} has manifest format {tree['format']}; this version reads up to {_FORMAT}: upgrade"
            )
        info = msgspec.convert(tree, CheckpointInfo)
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        if isinstance(error, CheckpointError):
            raise
        if data.lstrip().startswith(b"<"):  # what some web servers answer to any address
            raise CheckpointError(
                f"{where} has a web page in place of {MANIFEST}: is the address right? (A server that answers so for "
                "missing files cannot serve a registry.)"
            ) from error
        raise CheckpointError(f"{where} has a damaged {MANIFEST} ({error}): delete this checkpoint") from error
    if name not in (None, info.name) or info.digest != _digest(tree):
        raise CheckpointError(f"{where} has a {MANIFEST} that was altered: delete this checkpoint")
    for text in (info.name, *info.files):
        if not can_name(text) or text == MANIFEST:
            raise CheckpointError(f"{where} has a {MANIFEST} that names {text!r}, which is no name: do not use it")
    return info


def _digest(tree: dict[str, Any]) -> str:
    content = {key: value for key, value in tree.items() if key != "digest"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
