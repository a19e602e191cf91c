"""Decoding the small JSON files of a registry, of which a newer version may have written some."""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from xpm_stream.errors import RegistryError

SCHEMA_VERSION: Final = 1  # of the log's entries, candidates, leases, pins and marks

_Record = TypeVar("_Record", bound=msgspec.Struct)


class _Versioned(msgspec.Struct):
    schema_version: int = SCHEMA_VERSION


def decode_record(data: bytes, kind: type[_Record], *, path: str, url: str, if_damaged: str) -> _Record:
    """Return what the file `path` of the registry at `url` holds.

    Raises:
        RegistryError: a newer version wrote it, or it is damaged: do `if_damaged`.
    """
    try:
        # First: what a newer version wrote need not fit `kind`, and must not be deleted for that.
        written_as = msgspec.json.decode(data, type=_Versioned).schema_version
        if written_as > SCHEMA_VERSION:
            raise RegistryError(
                f"{path} in {url} was written by a newer version (schema {written_as}; this one reads up to "
                f"{SCHEMA_VERSION}): upgrade xpm_stream"
            )
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RegistryError(f"{path} in {url} is damaged ({error}): {if_damaged}") from error
